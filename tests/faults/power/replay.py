"""The states that a disk may be in when its power is cut, made from the log of its writes.

Everything written before the last completed flush is there. Of the later writes, any part may be there, in any order: a
disk has a cache. A command that returned before the cut was acknowledged.
"""

import contextlib
import dataclasses
import os
import random

from . import disk

# A disk writes sectors of this size whole; it may do a larger write in part.
ATOM = 4096


@dataclasses.dataclass(frozen=True)
class Ack:
    """The log had `position` entries when the step returned."""

    position: int
    step: object


@dataclasses.dataclass
class Recording:
    base: str  # the image before the first entry
    log: object
    acks: list


@dataclasses.dataclass(frozen=True)
class State:
    flushes: int  # how many flushes were done
    sample: str  # which of the writes after the last flush are there
    writes: list  # (entry, start, size_bytes)
    acknowledged: int  # how many steps

    def __str__(self):
        return f"after flush {self.flushes}, with {self.sample}"


def intervals(recording):
    """For each interval between two flushes: the number of flushes before it, its writes, and how many steps were
    acknowledged before the flush at its end."""
    flushes, writes = 0, []
    entries = recording.log.entries
    for position in range(len(entries) + 1):
        if position < len(entries) and not entries[position].is_flush:
            writes.append(entries[position])
            continue
        yield flushes, writes, sum(ack.position <= position for ack in recording.acks)
        flushes, writes = flushes + 1, []


def states(recording, samples, seed):
    """All states at a flush, and `samples` of those between it and the next, chosen by the seed. Each comes with the
    writes that the flush at its start has made durable."""
    durable, told = [], None
    for flushes, writes, acknowledged in intervals(recording):
        if durable or acknowledged != told:  # otherwise it is the state before
            yield durable, State(flushes, "nothing of what was written since", [], acknowledged)
        durable, told = [], acknowledged
        if writes:
            pieces = [piece for entry in writes for piece in split(entry)]
            for number in range(samples):
                rng = random.Random(f"{seed} {flushes} {number}")
                name, some = sample(rng, writes, pieces)
                yield [], State(flushes, f"{name} (sample {number} of seed {seed})", some, acknowledged)
            durable = [(entry, 0, entry.size_bytes) for entry in writes]
    # The writes after the last flush are never certain to be there, and have been sampled.


def split(entry):
    return [(entry, start, min(ATOM, entry.size_bytes - start)) for start in range(0, entry.size_bytes, ATOM)]


def sample(rng, writes, pieces):
    """Some of the writes between two flushes."""
    whole = [(entry, 0, entry.size_bytes) for entry in writes]
    way = rng.choice(["a prefix", "all but one piece", "half of the pieces", "few of the pieces", "half of the writes"])
    if way == "a prefix":
        some = pieces[: rng.randrange(len(pieces) + 1)]
    elif way == "all but one piece":
        missing = rng.randrange(len(pieces))
        some = pieces[:missing] + pieces[missing + 1 :]
    elif way == "half of the writes":
        some = [write for write in whole if rng.random() < 0.5]
    else:
        share = 0.5 if way.startswith("half") else 0.1
        some = [piece for piece in pieces if rng.random() < share]
    return f"{way}: {len(some)} of {len(whole if way.endswith('writes') else pieces)}", some


class Replay:
    """Builds each state in its own image and mounts it."""

    def __init__(self, kind, place):
        self.kind, self.place = kind, place

    def run(self, recording, samples, seed, every=1):
        """Yields each state, or every so many, with its mount point, or with the reason why it could not be mounted."""
        durable, image = f"{self.place}/durable.img", f"{self.place}/state.img"
        disk.copy_sparse(recording.base, durable)
        for number, (writes, state) in enumerate(states(recording, samples, seed)):
            apply(recording.log, writes, durable)
            if number % every:
                continue
            disk.copy_sparse(durable, image)
            apply(recording.log, state.writes, image)
            with contextlib.ExitStack() as stack:
                try:
                    at = stack.enter_context(disk.mounted(self.kind, image, f"{self.place}/mounted"))
                except RuntimeError as error:
                    yield state, None, str(error)
                    continue
                yield state, at, None


def apply(log, writes, image):
    with open(image, "r+b", buffering=0) as file:
        for entry, start, size_bytes in writes:
            os.pwrite(file.fileno(), log.data(entry, start, size_bytes), entry.offset + start)
