"""How the time and the memory of `catalog`, as a process, grow with the size of a file, with entries, with blobs, and
with processes at the same time. `benches/peers/run` calls it.

    costs.py FOLDER ROUNDS DIVISOR

DIVISOR makes large files smaller and many entries fewer. Prints one JSON object per line to standard output.
"""
import json, os, shutil, subprocess, sys, time

from common import CATALOG, make, note, quietly, text

FOLDER, ROUNDS, DIVISOR = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SMALL_BYTES = 1000
# The system accepts no more names than this in one call.
CALL_FILES = 10_000
# The catalog waits for a file that was just written: until the file system's clock has ticked, a change would not show.
TICK_SECONDS = 0.05
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}


def catalog(root, *arguments):
    return [CATALOG, "--root", root, "--quiet", *arguments]


def timed(commands):
    """The seconds from the start of all these processes until the last has ended."""
    start = time.perf_counter()
    running = [subprocess.Popen(command, **QUIET) for command in commands]
    codes = [process.wait() for process in running]
    seconds = time.perf_counter() - start
    if any(codes):
        raise SystemExit(f"error: {commands[0][:5]} ended with {codes}")
    return seconds


def private_bytes(command):
    """The peak of a process's private memory, without the files that it maps, sampled continuously."""
    process, most = subprocess.Popen(command, **QUIET), 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                found = [line.split()[1] for line in status if line.startswith("RssAnon:")]
        except OSError:
            break
        most = max([most, *map(int, found)])
    if process.wait() != 0:
        raise SystemExit(f"error: {command[:5]} ended with {process.returncode}")
    return most << 10


def measure(by, at, work, commands, at_once=1):
    """`commands(number)` prepares run `number` and returns what to start, one process or several. The memory of a
    single process is measured in separate runs. Short runs are repeated more often."""
    prepared = (commands(number) for number in range(1 << 20))
    memory, seconds = None, []
    if by == "processes":
        timed(next(prepared))
    else:
        # More than once, since a short process may not be seen at its peak.
        memory = max(private_bytes(next(prepared)[0]) for _ in range(ROUNDS))
    while len(seconds) < ROUNDS or (sum(seconds) < 1 and len(seconds) < 10 * ROUNDS):
        seconds.append(timed(next(prepared)) / at_once)
    line = {"part": "costs", "by": by, "at": at, "work": work, "seconds": seconds, "private_bytes": memory}
    print(json.dumps(line), flush=True)


def same(*command):
    return lambda _: [list(command)]


def removed(folder):
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["sync", "-f", FOLDER], check=True)


def by_size(size_bytes):
    note(f"costs: a file of {text(size_bytes)}")
    (source,) = make(f"{FOLDER}/size", 1, size_bytes)
    root, other = f"{FOLDER}/root", f"{FOLDER}/other"

    def anew(number):
        removed(other)
        return [catalog(other, "stage", source, "--mode", "copy", "--id", "model")]

    quietly(*catalog(root, "stage", source, "--mode", "copy", "--id", "model"))
    for work, commands in [
        ("stage by copy", anew),
        ("stage again, unchanged", same(*catalog(root, "stage", source, "--mode", "copy", "--id", "model"))),
        ("path", same(*catalog(root, "path", "model"))),
        ("verify", same(*catalog(root, "verify", "model"))),
        ("verify --quick", same(*catalog(root, "verify", "--quick", "model"))),
        ("hash", same(CATALOG, "hash", source)),
    ]:
        measure("size", size_bytes, work, commands)

    def to_remove(number):
        quietly(*catalog(root, "stage", source, "--mode", "copy", "--id", "model"))
        return [catalog(root, "remove", "model")]

    measure("size", size_bytes, "remove", to_remove)
    for folder in [root, other, os.path.dirname(source)]:
        removed(folder)


def filled(by, count, contents):
    """A catalog of `count` entries with this many contents in all."""
    root, sources = f"{FOLDER}/root-{by}-{count}", f"{FOLDER}/sources-{by}-{count}"
    os.makedirs(sources)
    for number in range(count):
        with open(f"{sources}/{number:06}", "w") as file:
            file.write(f"{number % contents:06} ".ljust(SMALL_BYTES, "x"))
    for start in range(0, count, CALL_FILES):
        names = [f"{number:06}" for number in range(start, min(count, start + CALL_FILES))]
        subprocess.run(catalog(root, "stage", *names), check=True, cwd=sources, stdout=subprocess.DEVNULL)
    return root, sources


def by_entries(by, count, contents):
    note(f"costs: {count:,} entries of {contents:,} contents")
    root, sources = filled(by, count, contents)
    ids = [f"file:{os.path.realpath(sources)}/{number:06}" for number in range(count)]

    def a_new_one(number):
        source = f"{sources}/new-{number}"
        with open(source, "w") as file:
            file.write(f"new {number}".ljust(SMALL_BYTES, "x"))
        time.sleep(TICK_SECONDS)
        return [catalog(root, "stage", source, "--id", f"new-{number}")]

    def one_to_remove(number):
        quietly(*a_new_one(number)[0])
        return [catalog(root, "remove", f"new-{number}")]

    works = [
        ("true, which does nothing", same("true")),
        ("path", same(*catalog(root, "path", ids[count // 2]))),
        ("path, the first use", lambda number: [catalog(root, "path", ids[number * 7919 % count])]),
        ("list", same(*catalog(root, "list"))),
        ("stage one more", a_new_one),
        ("remove one", one_to_remove),
        ("gc --dry-run", same(*catalog(root, "gc", "--dry-run"))),
        ("du", same(*catalog(root, "du"))),
        ("doctor", same(*catalog(root, "doctor"))),
    ]
    for work, commands in works:
        measure(by, count, work, commands)


def by_processes(count):
    note(f"costs: {count} processes at once")
    root, big = f"{FOLDER}/processes-{count}", (256 << 20) // DIVISOR
    (source,) = make(f"{FOLDER}/one-{count}", 1, big)
    small = make(f"{FOLDER}/small-{count}", count, 1 << 20)
    quietly(*catalog(root, "stage", source, "--id", "model"))

    def each(*arguments):
        return lambda _: [catalog(root, *arguments)] * count

    def each_its_own(number):
        for file in small:  # other bytes each time
            with open(file, "r+b") as opened:
                opened.write(f"{number:06}".encode())
        time.sleep(TICK_SECONDS)
        return [catalog(root, "stage", file, "--id", f"{number}-{file}") for file in small]

    def all_the_same(number):
        with open(source, "r+b") as opened:
            opened.write(f"{number:06}".encode())
        time.sleep(TICK_SECONDS)
        return [catalog(root, "stage", source, "--id", f"same-{number}") for _ in range(count)]

    for work, commands, at_once in [
        ("path, each", each("path", "model"), count),
        ("lease, each", each("lease", "model"), count),
        ("stage of its own 1 MiB, each", each_its_own, count),
        (f"stage of the same {text(big)}, all together", all_the_same, 1),
    ]:
        measure("processes", count, work, commands, at_once)


if __name__ == "__main__":
    for size_bytes in [64 << 20, 512 << 20, 4 << 30]:
        by_size(size_bytes // DIVISOR)
    for count in [1, 4, 16]:
        by_processes(count)
    # Folders with many files stay until the end: after many removals, ext4 is slow to make files.
    for count in [100, 10_000, 100_000]:
        by_entries("entries", max(10, count // DIVISOR), 10)
    for count in [100, 10_000, 100_000]:
        count = max(10, count // DIVISOR)
        by_entries("blobs", count, count)
