#!/usr/bin/env python3
"""Row 2: the disk goes away in the middle of a stage, on ext4 and xfs.

strace stops the command after its N-th system call of a kind. The file system is then shut down without writing its log
(EXT4_IOC_SHUTDOWN, which xfs calls XFS_IOC_GOINGDOWN): whatever was not synced is lost, as in a power cut. The command
continues and has to fail, unless all its work was durable by then. After the next mount, everything acknowledged has to
be there, and everything else has to be there wholly or not at all.

    tests/faults/shutdown.py            every sixth N
    tests/faults/shutdown.py --every 1  each N

Seen red: when nothing is synced, shards and blobs are empty after the mount.
"""

import argparse
import contextlib
import fcntl
import os
import random
import re
import signal
import struct
import time

from lib import mounts, strace
from lib.command import TIME_LIMIT_S, binary, catalog, finish, start
from lib.report import Report, say
from lib.states import summary
from lib.store import Damaged, Store

SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
WITHOUT_LOG = struct.pack("I", 2)
# Between any two of these, something changes on disk.
CALLS = ["mkdirat", "fallocate", "copy_file_range", "fchmod", "fsync", "syncfs", "linkat", "renameat",
         "unlinkat", "write"]
GROUNDS = [("ext4", ["mkfs.ext4", "-q"]), ("xfs", ["mkfs.xfs", "-q", "--unsupported"])]

# What is staged beforehand, so that there is something to lose, and which commands are interrupted.
BEFORE = [("kept", "kept"), ("tree", "tree"), ("old-1", "old"), ("gone", "gone")]
COMMANDS = [
    ("stage", ["stage", "{src}/new", "--id", "new"]),
    ("restage", ["stage", "{src}/old-2", "--id", "old"]),
    ("stage batch", ["stage", *(f"{{src}}/batch/{number}" for number in range(9))]),
    ("remove", ["remove", "gone"]),
]


class Ground:
    """A kind of file system, and sources on another. Each state gets a new one: after a shutdown, the kernel may
    later report errors that do not belong to the state."""

    def __init__(self, mkfs, own):
        self.mkfs, self.src, self.log = mkfs, own, own / "log"
        noise = random.Random(3)
        names = ["kept", "tree/a", "tree/sub/b", "old-1", "old-2", "gone", "new"]
        for name in names + [f"batch/{number}" for number in range(9)]:
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_bytes(noise.randbytes(20_000))
            os.utime(own / name, (1_600_000_000, 1_600_000_000))

    @contextlib.contextmanager
    def new_root(self):
        with mounts.image(64, self.mkfs) as mount:
            root = mount.at / "root"
            for name, id in BEFORE:
                ended = catalog(root, "stage", self.src / name, "--id", id)
                if ended.code != 0:
                    raise Damaged(f"could not prepare: {ended}")
            yield mount, root

    def counts(self, args):
        """The calls that the command makes, and its final records."""
        with self.new_root() as (_, root):
            ended = catalog(root, *args, before=strace.words(self.log, ["open", *CALLS], one_thread=False))
            if ended.code != 0:
                raise Damaged(f"fails without a fault: {ended}")
            return strace.reachable(self.log, root), summary(Store(root).records())

    def shut_down_behind(self, mount, root, args, call, number):
        """How the command ended when its disk went away after this call, and whether it was still working then."""
        self.log.unlink(missing_ok=True)
        words = strace.words(self.log, [call], [f"{call}:signal=SIGSTOP:when={number}"], one_thread=False)
        process = start([*words, binary(), *args, "--json"], root)
        stopped = self.wait_for_the_stop(process)
        folder = os.open(mount.at, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, WITHOUT_LOG)
        finally:
            os.close(folder)
        # Repeatedly: each of several threads comes to its own N-th call and is stopped there.
        end = time.monotonic() + TIME_LIMIT_S
        while stopped and process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGCONT)
            time.sleep(0.02)
        return finish(process), stopped is not None

    def wait_for_the_stop(self, process):
        while process.poll() is None:
            text = self.log.read_text(errors="replace") if self.log.exists() else ""
            stop = re.search(r"^(\d+) +--- stopped by SIGSTOP", text, re.MULTILINE)
            if stop:
                return process_of(stop[1])
            time.sleep(0.002)
        return None


def process_of(thread):
    """The process of a stopped thread, which may end long before it."""
    with open(f"/proc/{thread}/status") as status:
        return int(re.search(r"^Tgid:\s+(\d+)$", status.read(), re.MULTILINE)[1])


def judge(root, before, after, ended):
    store = Store(root)
    problems = [*filter(None, [ended.crash()]), *store.problems()]
    if problems:
        return problems
    now = summary(store.records())
    for id in {*before, *after, *now}:
        allowed = {after.get(id)} if ended.code == 0 else {before.get(id), after.get(id)}
        if now.get(id) not in allowed:
            problems.append(f"{id} is {now.get(id)}, not one of {allowed}; the command has said {ended}")
    listed = catalog(root, "list", "--json")
    if listed.code != 0 or len(listed.objects()) != len(now):
        problems.append(f"list: {listed}")
    collected = catalog(root, "gc", "--grace", "0")
    if collected.code != 0:
        problems.append(f"gc: {collected}")
    problems += Store(root).problems() + Store(root).debris()
    if summary(Store(root).records()) != now:
        problems.append("a collection has changed the entries")
    return [problem for problem in problems if problem]


def try_command(ground, args, how):
    """The problems of each state, and how the commands ended."""
    calls, after = ground.counts(args)
    problems, ends = [], {"done": 0, "failed": 0, "not stopped": 0}
    for call in sorted(calls.keys() & set(CALLS)):
        first, last = calls[call]
        step = min(how.every, last - first + 1)
        offset = random.Random(f"{how.seed} {call}").randrange(step)
        for number in range(first + offset, last + 1, step):
            with ground.new_root() as (mount, root):
                before = summary(Store(root).records())
                ended, was_at_work = ground.shut_down_behind(mount, root, args, call, number)
                mount.unmount()
                mount.mount()
                ends["not stopped" if not was_at_work else "done" if ended.code == 0 else "failed"] += 1
                problems += [f"{call} {number}: {problem}" for problem in judge(root, before, after, ended)]
    return problems, ends


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, default=6, help="try every K-th N only")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CATALOG_TEST_SEED", "1")))
    how = parser.parse_args()
    report = Report("shutdown")
    report.need(strace.missing())
    say(f"seed {how.seed}, every {how.every}")
    for name, mkfs in GROUNDS:
        with report.ground(name), mounts.folder() as own:
            ground = Ground(mkfs, own)
            for verb, args in COMMANDS:
                args = [arg.format(src=own) for arg in args]
                begin = time.monotonic()
                problems, ends = try_command(ground, args, how)
                text = f"{name}: {verb}: {sum(ends.values())} states, {time.monotonic() - begin:.0f} s: {ends}"
                report.check(text, problems[:20])
    report.finish()


if __name__ == "__main__":
    main()
