#!/usr/bin/env bash
# `catalog stage` of one file beside `openssl dgst -sha256` and `cp` with a sync, on the same bytes in the page cache: one
# after the other, in rounds. By copy on the file system of the build and, as root and with xfsprogs, by reflink on xfs in
# a loop mount. Prints medians and ratios.
#
#   benches/peers/stage.sh [MIB] [ROUNDS]      default 2048 and 5
#
# CATALOG names the program when it is not target/release/catalog. The files are below target/tmp and are removed at the
# end; four times MIB of disk and MIB of memory have to be free.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mib=${1:-2048}
rounds=${2:-5}
catalog=$(realpath "${CATALOG:-target/release/catalog}")
mkdir -p target/tmp
scratch=$(realpath "$(mktemp -d target/tmp/stage.XXXXXX)")
cleanup() {
    mountpoint -q "$scratch/xfs" && umount "$scratch/xfs"
    rm -rf "$scratch"
}
trap cleanup EXIT

measure() { # KIND FOLDER
    python3 - "$1" "$2" "$mib" "$rounds" "$catalog" <<'PY'
import os, shutil, statistics, subprocess, sys, time

kind, folder, mib, rounds, catalog = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
source, copy, root = (f"{folder}/{name}" for name in ("model.gguf", "copy", "root"))
programs = {
    "openssl sha256": ["openssl", "dgst", "-sha256", source],
    "cp and sync": ["sh", "-c", 'cp --reflink=never "$1" "$2" && sync "$2"', "sh", source, copy],
    "catalog stage": [catalog, "--root", root, "--quiet", "stage", source, "--id", "model"],
}
times = {name: [] for name in programs}
for number in range(rounds + 1):
    names = list(programs)
    for name in names[number % len(names):] + names[: number % len(names)]:
        shutil.rmtree(root, ignore_errors=True)
        if os.path.exists(copy):
            os.remove(copy)
        os.sync()
        start = time.perf_counter()
        subprocess.run(programs[name], check=True, stdout=subprocess.DEVNULL)
        if number > 0:
            times[name].append(time.perf_counter() - start)
median = {name: statistics.median(all) for name, all in times.items()}
for name, all in times.items():
    print(f"{kind:8} {name:17} {median[name]:7.3f} s  ({min(all):.3f} to {max(all):.3f})")
stage = median["catalog stage"]
print(f"{kind:8} stage against openssl {stage / median['openssl sha256']:.2f}, against cp and sync {stage / median['cp and sync']:.2f}")
shutil.rmtree(root, ignore_errors=True)
PY
}

printf '%s\n' "$(nproc) cores, $(uname -r), load $(cut -d' ' -f1 /proc/loadavg), $(openssl version | cut -d' ' -f1,2)"
make_source() { head -c "${mib}M" /dev/zero | openssl enc -aes-128-ctr -pass pass:catalog -nosalt 2>/dev/null >"$1/model.gguf"; }
mkdir "$scratch/copy"
make_source "$scratch/copy"
measure copy "$scratch/copy"
rm -r "$scratch/copy"
if [ "$(id -u)" -eq 0 ] && PATH="$PATH:/sbin:/usr/sbin" command -v mkfs.xfs >/dev/null; then
    truncate -s "$((mib * 3 + 512))M" "$scratch/image"
    PATH="$PATH:/sbin:/usr/sbin" mkfs.xfs -q "$scratch/image"
    mkdir "$scratch/xfs"
    mount -o loop "$scratch/image" "$scratch/xfs"
    make_source "$scratch/xfs"
    measure reflink "$scratch/xfs"
else
    echo "skipped: reflink needs root and xfsprogs"
fi
