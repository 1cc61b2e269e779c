"""One file system under test: its image, the workload on it, and the replay of its writes."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import threading

from . import disk, replay, workload
from .check import Checker, Wrong
from .syncs import Sync, name, numbered

SYNCS = "fsync,fdatasync,syncfs,sync_file_range"


@dataclasses.dataclass
class Loss:
    state: object
    what: list
    step: str  # the last acknowledged step

    def __str__(self):
        lines = "".join(f"    {line.text}\n" for line in self.what)
        return f"acknowledged last: {self.step}; power cut {self.state}:\n{lines}"


class Session:
    size = None  # of the image; None: the smallest that is possible

    def __init__(self, kind, place, binary):
        self.kind, self.place, self.binary = kind, pathlib.Path(place), binary
        self.at = self.place / "mounted"
        self.root = self.at / "root"
        self.at.mkdir(parents=True)
        # Made now, so that all their bytes are on disk before the log begins.
        self.sources = workload.Sources(self.at / "sources", self.place / "sources")
        self.empty = self.place / "empty.img"
        disk.make_file_system(kind, self.empty, self.size)
        with disk.mounted(kind, self.empty, self.at):
            self.sources.make()
            self.steps = workload.steps(self.sources)
        self.checker = Checker(binary, self.sources.contents)
        self.flushes = self.states = 0
        self._before = (0, self.empty)

    def cut(self, samples, seed):
        """Cuts the whole workload: yields each loss."""
        return self._replay(self.empty, workload.Expected(), self.steps, samples, seed)

    def syncs(self, step):
        trace = self.place / "trace"
        disk.copy_sparse(self._image_before(step), self.place / "live.img")
        with disk.mounted(self.kind, self.place / "live.img", self.at):
            self._do(step, ["strace", "-f", "-y", "-o", str(trace), f"-etrace=execve,{SYNCS}"])
        syncs, counts, main = [], collections.Counter(), None
        for line in trace.read_text().splitlines():
            thread, call = line.split(maxsplit=1)
            main = main or thread
            match = re.match(rf"({SYNCS.replace(',', '|')})\(\d+<(.*?)>", call)
            if match:
                counts[thread, match[1]] += 1
                what = name(match[1], match[2], str(self.root))
                syncs.append(Sync(match[1], what, counts[thread, match[1]], thread == main))
        of_main = {(sync.call, sync.at) for sync in syncs if sync.is_main}
        is_alone = [sync.is_main or (sync.call, sync.at) not in of_main for sync in syncs]
        return numbered([dataclasses.replace(sync, is_alone=alone) for sync, alone in zip(syncs, is_alone)])

    def leave_out(self, step, sync, samples, seed):
        """Cuts a step without one of its syncs: strace returns 0 instead, and the kernel never sees the call."""
        trace = self.place / "trace"
        # Without -f, strace does not see the other threads; with it, it counts each thread's calls separately.
        tools = ["strace", *([] if sync.is_main else ["-f"]), "-y", "-o", str(trace), f"-etrace={sync.call},ioctl"]
        tools.append(f"-einject={sync.call}:retval=0:when={sync.at}")
        # A new shard that was written out is made durable by any sync that comes after. That has no promise, so here
        # FIEMAP is refused.
        tools += ["-einject=ioctl:error=EOPNOTSUPP"] if sync.what == "a new shard" else []
        number = self.steps.index(step)
        before = self.steps[number - 1].after if number else workload.Expected()
        # Later writes reach the disk, and take the unsynced ones with them; so the first later step writes no shard.
        pins = step.after.records["a"].pins | {"later"}
        later = [
            workload.Step("set a limit", ["config", "set", "min_free", "1"], step.after, ()),
            workload.Step("pin", ["pin", "a", "--as", "later"], step.after.change("a", pins=pins), ("a",)),
        ]
        # A missing sync of everything only shows if another process syncs before the next one.
        beside = neighbour(self.at) if sync.call == "syncfs" else contextlib.nullcontext()
        yield from self._replay(self._image_before(step), before, [step, *later], samples, seed, tools, beside)

    def _image_before(self, step):
        """The image after all steps before this one, cleanly unmounted."""
        wanted, (have, image) = self.steps.index(step), self._before
        if have != wanted:
            image = self.place / "before.img"
            disk.copy_sparse(self.empty, image)
            with disk.mounted(self.kind, image, self.at):
                for earlier in self.steps[:wanted]:
                    self._do(earlier, [])
            self._before = (wanted, image)
        return image

    def _replay(self, base, before, steps, samples, seed, tools=(), beside=None, every=1):
        live, log = self.place / "live.img", self.place / "writes.log"
        disk.copy_sparse(base, live)
        with disk.logged(live, log, self.place / "export") as writes:
            acks = []
            with disk.mounted(self.kind, self.place / "export", self.at):
                for number, step in enumerate(steps):
                    with beside if beside and number == 0 else contextlib.nullcontext():
                        self._do(step, tools if number == 0 else [])
                    acks.append(replay.Ack(writes.catch_up(), step))
            writes.catch_up()
            if tools:
                lines = (self.place / "trace").read_text().splitlines()
                left_out = sum("(INJECTED)" in line and "ioctl" not in line for line in lines)
                assert left_out == 1, f"{left_out} calls were left out, not one"
            self.flushes += sum(entry.is_flush for entry in writes.entries)
            yield from self._check(replay.Recording(base, writes, acks), before, steps, samples, seed, every)

    def _check(self, recording, before, steps, samples, seed, every):
        for state, at, refusal in replay.Replay(self.kind, self.place).run(recording, samples, seed, every):
            self.states += 1
            done, rest = steps[: state.acknowledged], steps[state.acknowledged :]
            held = done[-1].after if done else before
            after = rest[0].after if rest else held
            if at is None:
                wrong = [Wrong("mount", refusal)]
            else:
                wrong = self.checker.check(self.root, done, held, after, rest[0] if rest else None)
            if wrong:
                yield Loss(state, wrong, done[-1].name if done else "nothing")

    def _do(self, step, tools):
        run_step(self.binary, self.root, step, tools)


def run_step(binary, root, step, tools):
    done = subprocess.run(
        [*tools, binary, "--root", root, *step.words],
        capture_output=True,
        text=True,
        # One worker thread, so that the order of the calls is the same in each run.
        env={"RAYON_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{step.words} answered {done.returncode}: {done.stderr.strip()}")


@contextlib.contextmanager
def neighbour(at, sync=os.fsync):
    """Another process that syncs a file of the file system again and again, and thereby makes all other names
    durable."""
    ended = threading.Event()

    def again_and_again():
        with open(at / "neighbour", "wb", buffering=0) as file:
            while not ended.wait(0.002):
                file.write(b"x")
                sync(file.fileno())

    thread = threading.Thread(target=again_and_again)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
