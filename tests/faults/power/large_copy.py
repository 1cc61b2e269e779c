"""A large copy, or clone, whose power is cut: the next stage goes on with what it can trust of the partial that is left."""

import ctypes
import os
import pathlib

from . import disk, workload
from .session import Session, neighbour

# From 64 MiB on, a copy outlives its process.
LARGE_BYTES = 70 << 20
# Only each third state is checked, as a check copies all of it. Three is coprime to the number of states between two flushes.
EVERY = 3


def syncfs(fd):
    """All of its file system: the journal of the copy as well, which nothing else would write for 30 s."""
    if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")


def write(path):
    """No MiB is like another."""
    pathlib.Path(path).write_bytes(b"".join(bytes([number]) * (1 << 20) for number in range(LARGE_BYTES >> 20)))


class LargeCopy(Session):
    """On a disk that somebody else syncs again and again, so that the power is cut at every part of the copy."""

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
        """Cuts the copy: gives each loss, and that nothing was gone on with."""
        begin, copy = self.steps
        base = self._image_before(copy)
        yield from self._replay(base, begin.after, [copy], samples, seed, beside=neighbour(self.at, syncfs), every=EVERY)
        if self.mode == "copy" and not self.checker.resumed:
            yield "no cut has left anything to go on with"


class LargeClone(LargeCopy):
    """The same of a clone: what is left of it is begun anew, since its blocks may not be there."""

    size = "400M"
    mode = "reflink"

    def _source(self):
        large = self.sources.inside / "huge.gguf"
        with disk.mounted(self.kind, self.empty, self.at):
            write(large)
            self.digest = self.sources.file(large)
        return large
