"""A large copy or clone whose power is cut: the next stage resumes as much of the remaining partial as it can trust."""

import ctypes
import os
import pathlib

from . import disk, workload
from .session import Session, neighbour

# From 64 MiB on, a copy outlives its process.
LARGE_BYTES = 70 << 20
# Only every third state is checked, because a check copies all of it. Three is coprime to the number of states between
# two flushes.
EVERY = 3


def syncfs(fd):
    """Syncs the whole file system, including the copy's journal, which nothing else would write for 30 s."""
    if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")


def write(path):
    """Every MiB is different."""
    pathlib.Path(path).write_bytes(b"".join(bytes([number]) * (1 << 20) for number in range(LARGE_BYTES >> 20)))


class LargeCopy(Session):
    """A copy on a disk that a neighbour syncs again and again, so that the power is cut at every part of the copy."""

    size = "304M"
    mode = "copy"

    def __init__(self, kind, place, binary):
        super().__init__(kind, place, binary)
        large = self._source()
        self.checker.is_new_boot = True
        before = self.steps[0].after
        after = before.put(huge=workload.Held(self.digest))
        words = ["stage", str(large), "--id", "huge", "--mode", self.mode, "--json"]
        self.steps = [self.steps[0], workload.Step("stage a large file", words, after, ("huge",))]

    def _source(self):
        large = self.sources.outside / "huge.gguf"
        write(large)
        self.digest = self.sources.file(large)
        return large

    def cut(self, samples, seed):
        """Cuts the copy: yields each loss, and whether nothing was ever resumed."""
        begin, copy = self.steps
        base = self._image_before(copy)
        yield from self._replay(base, begin.after, [copy], samples, seed, beside=neighbour(self.at, syncfs), every=EVERY)
        if self.mode == "copy" and not self.checker.resumed:
            yield "no cut has left anything to go on with"


class LargeClone(LargeCopy):
    """The same with a clone, which always starts again, because its blocks may not be there."""

    size = "400M"
    mode = "reflink"

    def _source(self):
        large = self.sources.inside / "huge.gguf"
        with disk.mounted(self.kind, self.empty, self.at):
            write(large)
            self.digest = self.sources.file(large)
        return large
