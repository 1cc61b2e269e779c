"""Programs that keep small files durably, or say so: 1, 10, 100 and 1,000 files in one call of a process, into a
repository that has one file already. `benches/peers/run` calls it.

    puts.py FOLDER ROUNDS DIVISOR

DIVISOR makes many files fewer. Prints one JSON object per line to standard output.
"""
import json, os, shutil, subprocess

from common import CATALOG, make, note
from turns import DIVISOR, FOLDER, Turns

PEERS = os.path.abspath(os.environ.get("PEERS", "target/release/catalog-peers"))
SIZE_BYTES = 10_000
BORG = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
RESTIC = {"RESTIC_PASSWORD": "peers"}


def catalog(files, folder, call):
    call([CATALOG, "--root", "root", "--quiet", "stage", FIRST, "--id", "first", "--init"])
    return [CATALOG, "--root", "root", "--quiet", "stage", *files], {}


def copy_and_sync(files, folder, call):
    os.makedirs(f"{folder}/copy")
    sync = f'"copy/{os.path.basename(files[0])}" copy' if len(files) == 1 else "-f copy"
    return ["sh", "-c", f'cp --reflink=never -t copy -- "$@" && sync {sync}', "sh", *files], {}


def cacache(files, folder, call):
    call([PEERS, "write", "cache", FIRST])
    return [PEERS, "write", "cache", *files], {}


def restic(files, folder, call):
    tool = ["restic", "--quiet", "--repo", "repository", "--cache-dir", f"{folder}/cache"]
    call([*tool, "init"], RESTIC)
    call([*tool, "backup", FIRST], RESTIC)
    return [*tool, "backup", *files], RESTIC


def borg(files, folder, call):
    env = BORG | {"BORG_BASE_DIR": folder}
    call(["borg", "init", "--encryption", "none", "repository"], env)
    call(["borg", "create", "repository::first", FIRST], env)
    return ["borg", "create", "repository::more", *files], env


def ostree(files, folder, call):
    call(["ostree", "init", "--repo=repository", "--mode=bare-user"])
    commit = ["ostree", "commit", "--repo=repository", "--branch=main", "--subject=x"]
    call([*commit, f"--tree=dir={os.path.dirname(FIRST)}"])
    return [*commit, f"--tree=dir={os.path.dirname(files[0])}"], {}


def git_lfs(files, folder, call):
    call(["git", "init", "--quiet"])
    call(["git", "lfs", "install", "--local", "--skip-repo"])
    call(["git", "lfs", "track", "*.gguf"])
    shutil.copy(FIRST, folder)
    keep = ["sh", "-c", "git add . && git commit --quiet --message x"]
    call(keep)
    shutil.copytree(os.path.dirname(files[0]), f"{folder}/data")
    return keep, {}


PROGRAMS = {
    "catalog stage": (catalog, CATALOG),
    "cp and sync": (copy_and_sync, "cp"),
    "cacache and one sync": (cacache, PEERS),
    "restic backup": (restic, "restic"),
    "borg create": (borg, "borg"),
    "ostree commit": (ostree, "ostree"),
    "git lfs": (git_lfs, "git-lfs"),
}
(FIRST,) = make(f"{FOLDER}/first", 1, SIZE_BYTES)

for count in [1, 10, 100, max(200, 1_000 // DIVISOR)]:
    files = make(f"{FOLDER}/files-{count}", count, SIZE_BYTES)
    turns = Turns(f"{count:,} files of 10 KB", kept=f"{count}-files")
    for name, (prepare, tool) in PROGRAMS.items():
        if not shutil.which(tool):
            note(f"skipped: {name}: {tool} is not installed")
            continue

        def prepared(folder, prepare=prepare):
            call = lambda command, env={}: subprocess.run(
                command, check=True, cwd=folder, env={**os.environ, **env}, stdout=subprocess.DEVNULL
            )
            return prepare(files, folder, call)

        turns.add(name, prepared)
    turns.measure()
    for name, figures in turns.figures.items():
        seconds, processor = ([figure[which] for figure in figures] for which in (0, 1))
        line = {"part": "puts", "files": count, "size_bytes": SIZE_BYTES, "program": name}
        print(json.dumps(line | {"seconds": seconds, "processor_seconds": processor}), flush=True)
