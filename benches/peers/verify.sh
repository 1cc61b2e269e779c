#!/usr/bin/env bash
# `catalog verify` beside `b3sum` and `openssl dgst -sha256` on the same bytes in the page cache: one after the other, in
# rounds, so that what else the machine does meets all of them. Prints the median of each, with the smallest and the
# largest, the processors' time that it took and that others had meanwhile, and the ratios of the medians. Waits for a
# quiet moment before each run.
#
#   benches/peers/verify.sh [MIB] [ROUNDS]      default 2048 and 5
#
# CATALOG and B3SUM name the programs when they are not in target/release and in the PATH (`cargo install b3sum`, or
# `apt-get install b3sum`). The files are below target/tmp and are removed at the end; MIB of memory have to be free.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mib=${1:-2048}
rounds=${2:-5}
catalog=$(realpath "${CATALOG:-target/release/catalog}")
b3sum=${B3SUM:-b3sum}
for tool in "$catalog" "$b3sum" openssl python3; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing; see the head of $0" >&2; exit 1; }
done

mkdir -p target/tmp
scratch=$(mktemp -d target/tmp/verify.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
head -c "${mib}M" /dev/zero | openssl enc -aes-128-ctr -pass pass:catalog -nosalt 2>/dev/null >"$scratch/model.gguf"
export CATALOG_ROOT="$scratch/root"
"$catalog" --quiet stage "$scratch/model.gguf" --id model --mode move
blob=$("$catalog" path model)
sync

printf '%s\n' "$(nproc) cores, $(uname -r), load $(cut -d' ' -f1 /proc/loadavg), $(openssl version | cut -d' ' -f1,2), $("$b3sum" --version)"
python3 - "$mib" "$rounds" "$blob" "$catalog" "$b3sum" <<'PY'
import os, statistics, subprocess, sys, time

mib, rounds, blob, catalog, b3sum = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
programs = {
    "catalog verify": [catalog, "--quiet", "verify", "model"],
    "b3sum": [b3sum, blob],
    "openssl sha256": ["openssl", "dgst", "-sha256", blob],
    "plain read": ["dd", f"if={blob}", "of=/dev/null", "bs=1M", "status=none"],
}


def used():
    """What all processes have used of the processors, in seconds."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet():
    """Waits, at most 20 s, until nobody else does anything: who shares a core halves what two threads gain."""
    for _ in range(100):
        before = used()
        time.sleep(0.2)
        if used() - before < 0.02:
            return


times = {name: [] for name in programs}
others = {name: [] for name in programs}
works = {name: [] for name in programs}
for number in range(rounds + 1):
    names = list(programs)
    for name in names[number % len(names):] + names[: number % len(names)]:
        wait_for_quiet()
        start, before = time.perf_counter(), used()
        child = subprocess.Popen(programs[name], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0, name
        if number > 0:  # the first round brings all of it into the page cache
            times[name].append(time.perf_counter() - start)
            works[name].append(usage.ru_utime + usage.ru_stime)
            others[name].append(max(0, used() - before - works[name][-1]))
median = {name: statistics.median(all) for name, all in times.items()}
for name, all in times.items():
    gb_per_s = mib * 1048576 / median[name] / 1e9
    work = statistics.median(works[name])
    print(f"{name:15} {median[name]:7.3f} s  ({min(all):.3f} to {max(all):.3f})  {gb_per_s:6.2f} GB/s  processor {work:.3f} s, of others {statistics.median(others[name]):.2f} s")
print(f"catalog against b3sum: {median['b3sum'] / median['catalog verify']:.2f}")
print(f"catalog against openssl: {median['openssl sha256'] / median['catalog verify']:.1f}")
PY
