"""The workload on the strict file system: recorded once, cut at every sync, also with any one sync left out."""

import dataclasses
import pathlib
import random

from . import strict, syscalls, workload
from .check import Checker
from .session import Loss, run_step
from .syncs import Sync, name, numbered


@dataclasses.dataclass(frozen=True)
class State:
    step: str
    calls: int
    sample: str

    def __str__(self):
        return f"in {self.step!r} after {self.calls} of its calls, with {self.sample}"


class StrictSession:
    kind = "strict"

    def __init__(self, place, binary):
        self.place, self.binary = pathlib.Path(place), binary
        self.live, self.state = self.place / "live", self.place / "state"
        self.live.mkdir(parents=True)
        self.sources = workload.Sources(self.place / "inside", self.place / "outside")
        self.sources.make()
        self.steps = workload.steps(self.sources)
        self.checker = Checker(binary, self.sources.contents)
        self.names = syscalls.Names(str(self.live))
        self.events = [self._record(step) for step in self.steps]
        self.flushes = sum(isinstance(event, syscalls.Sync) for events in self.events for event in events)
        self.files = strict.Files(self.names, self.sources)
        self.files.compare(self.live)
        self.states = 0

    def cut(self, samples, seed):
        """Cuts the whole workload: yields each loss."""
        return self._replay(samples, seed, range(len(self.steps)))

    def syncs(self, step):
        number = self.steps.index(step)
        disk = self._disk_before(number)
        syncs = []
        for at, event in enumerate(self.events[number]):
            if isinstance(event, syscalls.Sync):
                excuse = "" if disk.has_work(event) else "had nothing to do"
                again = [later for later in self.events[number][at + 1 :] if isinstance(later, syscalls.Sync)]
                if not excuse and any(later.inode == event.inode for later in again):
                    excuse = "is done again before the answer"
                syncs.append(Sync(event.call, name(event.call, event.path, str(self.live / "root")), at, excuse=excuse))
            disk.apply(event)
        return numbered(syncs)

    def leave_out(self, step, sync, samples, seed):
        """Cuts a step, and the one after it, without one of its syncs."""
        number = self.steps.index(step)
        return self._replay(samples, seed, range(number, min(number + 2, len(self.steps))), (number, sync.at))

    def _record(self, step):
        trace = self.place / "trace"
        tools = ["strace", "-f", "-y", "-xx", "-s", "65536", "-o", str(trace), f"-etrace={syscalls.CALLS}"]
        run_step(self.binary, self.live / "root", step, tools)
        return self.names.read(trace)

    def _disk_before(self, number):
        disk = strict.Disk()
        for event in (event for events in self.events[:number] for event in events):
            disk.apply(event)
        return disk

    def _replay(self, samples, seed, steps, left_out=None):
        disk = self._disk_before(steps.start)
        is_cut = left_out is None  # before it, nothing differs
        for number in steps:
            events = self.events[number]
            for at, event in enumerate(events):
                if (number, at) == left_out:
                    is_cut = True
                    continue
                if is_cut and isinstance(event, syscalls.Sync):
                    yield from self._check(disk, number, at, samples, seed)
                disk.apply(event)
            yield from self._check(disk, number + 1, len(events), samples, seed)

    def _check(self, disk, acknowledged, calls, samples, seed):
        done, rest = self.steps[:acknowledged], self.steps[acknowledged:]
        before = done[-1].after if done else workload.Expected()
        after = rest[0].after if rest else before
        for number in range(samples + 1):
            rng = random.Random(f"{seed} {acknowledged} {calls} {number}") if number else None
            self.files.make(self.state, *disk.cut(rng))
            self.states += 1
            wrong = self.checker.check(self.state / "root", done, before, after, rest[0] if rest else None)
            if wrong:
                sample = f"some (sample {number} of seed {seed})" if number else "nothing"
                step = (rest or done)[0 if rest else -1].name
                state = State(step, calls, f"{sample} of what was not synced")
                yield Loss(state, wrong, done[-1].name if done else "nothing")
