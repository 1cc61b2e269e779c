#!/usr/bin/env python3
"""Many processes that stage different small files at the same time: how many files a second, and how long one waits.

    CATALOG=target/release/catalog benches/peers/crowd.py FOLDER [BINARY...]

makes 1, 8 and 64 processes stage 512 files of 10 KB below FOLDER, each its share and each file by a command of its own,
into a new root. Further binaries take turns with `CATALOG`, in three rounds; each line is the median of the rounds.
`SIZES`, `COUNT` and `ROUNDS` in the environment change the numbers.
"""
import os, shutil, statistics, struct, sys, time

from common import CATALOG, make, note

SIZES = [int(size) for size in os.environ.get("SIZES", "1 8 64").split()]
COUNT = int(os.environ.get("COUNT", 512))
ROUNDS = int(os.environ.get("ROUNDS", 3))


def stage_all(binary, root, files, pipe):
    """Stages one file after the other; writes the seconds that each took."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)]
    for file in files:
        begun = time.monotonic()
        child = os.posix_spawn(binary, [binary, "--root", root, "stage", file], os.environ, file_actions=quiet)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"{binary} could not stage {file}: {status}"
        os.write(pipe, struct.pack("d", time.monotonic() - begun))


def crowd(binary, root, files, size):
    """The seconds in all, and those of each file."""
    shutil.rmtree(root, ignore_errors=True)
    os.posix_spawn(binary, [binary, "--root", root, "stage", files[0]], os.environ,
                   file_actions=[(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)])
    os.wait()
    files, reader, writer = files[1:], *os.pipe()
    os.sync()
    begun, workers = time.monotonic(), []
    for number in range(size):
        worker = os.fork()
        if worker == 0:
            code = 1
            try:
                stage_all(binary, root, files[number::size], writer)
                code = 0
            finally:
                os._exit(code)
        workers.append(worker)
    os.close(writer)
    told = b""
    while some := os.read(reader, 1 << 16):
        told += some
    took = time.monotonic() - begun
    os.close(reader)
    assert all(os.waitpid(worker, 0)[1] == 0 for worker in workers)
    return took, [seconds for seconds, in struct.iter_unpack("d", told)]


def main():
    folder, binaries = sys.argv[1], [CATALOG, *sys.argv[2:]]
    at = f"{folder}/crowd"
    shutil.rmtree(at, ignore_errors=True)
    files = make(f"{at}/files", COUNT + 1, 10_000)
    figures = {}
    for number in range(ROUNDS):
        for size in SIZES:
            for binary in binaries:
                note(f"crowd: {size} processes, {binary}")
                took, each = crowd(os.path.abspath(binary), f"{at}/root", files, size)
                one = (COUNT / took, statistics.median(each), max(each))
                figures.setdefault((size, binary), []).append(one)
    print("| processes | binary | files a second | median wait | longest | longest : median |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (size, binary), rounds in figures.items():
        rate, median, longest = (statistics.median(column) for column in zip(*rounds))
        ratio = statistics.median(longest / median for _, median, longest in rounds)
        print(f"| {size} | {binary} | {rate:.0f} | {median * 1000:.1f} ms | {longest * 1000:.0f} ms | {ratio:.1f} |")
    shutil.rmtree(at)


if __name__ == "__main__":
    main()
