"""One file system under test: its image, the workload on it, and the replay of what was written."""

import dataclasses
import pathlib
import subprocess

from . import disk, replay, workload
from .check import Checker, Wrong


@dataclasses.dataclass
class Loss:
    state: object
    what: list
    step: str  # the last one that was acknowledged

    def __str__(self):
        return f"acknowledged last: {self.step}; power cut {self.state}:\n" + "".join(f"    {line.text}\n" for line in self.what)


class Session:
    def __init__(self, kind, place, binary):
        self.kind, self.place, self.binary = kind, pathlib.Path(place), binary
        self.at = self.place / "mounted"
        self.root = self.at / "root"
        self.at.mkdir(parents=True, exist_ok=True)
        # Made now, so that all of its bytes are on the disk before anything is logged.
        self.sources = workload.Sources(self.at / "sources", self.place / "sources")
        self.empty = self.place / "empty.img"
        disk.make_file_system(kind, self.empty)
        with disk.mounted(kind, self.empty, self.at):
            self.sources.make()
            self.steps = workload.steps(self.sources)
        self.checker = Checker(binary, self.sources.contents)
        self.runs = self.flushes = self.mounts = 0
        self._before = (0, self.empty)

    def before(self, step):
        """An image in which all steps before this one were done, and which was unmounted after them. Steps are asked for
        in their order."""
        wanted, (have, image) = self.steps.index(step), self._before
        if have != wanted:
            image = self.place / "before.img"
            disk.copy_sparse(self.empty, image)
            with disk.mounted(self.kind, image, self.at):
                for earlier in self.steps[:wanted]:
                    self.do(earlier, [])
            self._before = (wanted, image)
        return image

    def replay(self, base, before, steps, samples, seed, tools=None):
        """Does the steps on a copy of `base` while the writes are logged, and checks the states that this gives: gives
        each loss. `tools` are words to put before the first step's command."""
        self.runs += 1
        live, log = self.place / "live.img", self.place / "writes.log"
        disk.copy_sparse(base, live)
        with disk.logged(live, log, self.place / "export") as writes:
            acks = []
            with disk.mounted(self.kind, self.place / "export", self.at):
                for number, step in enumerate(steps):
                    self.do(step, tools if tools and number == 0 else [])
                    acks.append(replay.Ack(writes.catch_up(), step))
            writes.catch_up()
            self.flushes += sum(entry.is_flush for entry in writes.entries)
            yield from self._check(replay.Recording(base, writes, acks), before, steps, samples, seed)

    def _check(self, recording, before, steps, samples, seed):
        player = replay.Replay(self.kind, self.place)
        for state, at, refusal in player.run(recording, samples, seed):
            self.mounts += 1
            done, rest = steps[: state.acknowledged], steps[state.acknowledged :]
            held = done[-1].after if done else before
            after = rest[0].after if rest else held
            if at is None:
                wrong = [Wrong("mount", refusal)]
            else:
                wrong = self.checker.check(self.root, done, held, after, rest[0] if rest else None)
            if wrong:
                yield Loss(state, wrong, done[-1].name if done else "nothing")

    def do(self, step, tools):
        done = subprocess.run(
            [*tools, self.binary, "--root", self.root, *step.words],
            capture_output=True,
            text=True,
            env={"RAYON_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        )
        if done.returncode != 0:
            raise RuntimeError(f"{step.words} answered {done.returncode}: {done.stderr.strip()}")
