#!/usr/bin/env python3
"""Rows 6 and 7: no free block, no free inode, and every number of them that is too small.

On each file system: a store with a few entries; then everything else is filled. With 0, 1, 2, ... free blocks or
inodes, a tiny file is staged until it fits, so that each write of a stage is once the first without room. The file is
tiny because for a large one the command checks the room first, and fails before it writes anything.

    tests/faults/full_disk.py [xfs]

Seen red: a removal that does not give up the reserve fails on xfs, btrfs (full, and at its quota) and tmpfs without
inodes; a removal that does, but renames a shard that is its own previous generation to that name again, fails on tmpfs
without inodes; a first `.prev` that is written after its shard makes a stage fail that has recorded its entry; a stage
that requires an outboard, which is only advice, leaves a blob behind and later calls it damaged.
"""

import contextlib
import os
import sys

from lib import mounts
from lib.command import catalog
from lib.report import Report, say
from lib.store import Damaged, Store

BLOCK = 4096
MEGABYTE = 1 << 20
ENOUGH = 96  # surely enough blocks or inodes for a tiny file

class Ground:
    def __init__(self, name, make, inodes=False):
        self.name, self.make, self.inodes = name, make, inodes


GROUNDS = [
    Ground("ext4", lambda: mounts.image(64, ["mkfs.ext4", "-q", "-m", "0"])),
    Ground("xfs", lambda: mounts.image(64, ["mkfs.xfs", "-q", "--unsupported"])),
    Ground("btrfs", lambda: mounts.image(128, ["mkfs.btrfs", "-q"])),
    Ground("btrfs quota", lambda: limited(mounts.image(128, ["mkfs.btrfs", "-q"]), "24M")),
    Ground("tmpfs", lambda: mounts.tmpfs("size=16m")),
    Ground("ext4 inodes", lambda: mounts.image(64, ["mkfs.ext4", "-q", "-m", "0", "-N", "256"]), inodes=True),
    Ground("tmpfs inodes", lambda: mounts.tmpfs("size=16m,nr_inodes=256"), inodes=True),
]


@contextlib.contextmanager
def limited(image, limit):
    """The disk has room, but this user may not have it: EDQUOT."""
    with image as mount:
        for words in [["quota", "enable", mount.at], ["qgroup", "limit", limit, mount.at]]:
            done = mounts.run("btrfs", *words)
            if done.returncode != 0:
                raise mounts.Unavailable(f"btrfs {words[0]} failed: {done.stderr.strip()}")
        yield mount


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1_600_000_000, 1_600_000_000))


class Filled:
    """Takes every free block or inode. Some are taken by files of their own, so that they can be freed one by one."""

    def __init__(self, mount, are_inodes):
        self.mount, self.are_inodes = mount, are_inodes
        self.spare, self.fillers = mount.at / "spare", mount.at / "fillers"
        self.spare.mkdir()
        self.fillers.mkdir()

    def take_all(self):
        sync(self.mount)  # until then, some file systems only guess how much is left
        content = b"" if self.are_inodes else b"\0" * BLOCK
        for number in range(ENOUGH):
            put(self.spare / f"{number}", content)
        if self.are_inodes:
            number = len(list(self.fillers.iterdir()))
            while put(self.fillers / f"{number}", b""):
                number += 1
        else:
            for size in [MEGABYTE, BLOCK, 1]:
                sync(self.mount)
                fill(self.fillers / f"{size}", size)

    def spared(self):
        return len(list(self.spare.iterdir()))

    def give_back_one(self):
        spare = next(self.spare.iterdir(), None)
        if not spare:
            raise Damaged(f"with {ENOUGH} of them free a tiny file still does not fit")
        spare.unlink()
        sync(self.mount)

    def give_back_all(self):
        for name in [*self.spare.iterdir(), *self.fillers.iterdir()]:
            name.unlink()
        sync(self.mount)


def put(path, content):
    """Makes a file unless it exists; returns whether that worked."""
    try:
        if not path.exists():
            path.write_bytes(content)
        return True
    except OSError:
        return False


def fill(path, size):
    """Appends until nothing more fits."""
    try:
        with open(path, "ab", buffering=0) as file:
            while True:
                file.write(b"\0" * size)
    except OSError:
        pass


def sync(mount):
    descriptor = os.open(mount.at, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.sync()
    finally:
        os.close(descriptor)


class Scene:
    """A store on a file system of its own, and its sources on another."""

    def __init__(self, mount, own):
        self.root, self.src = mount.at / "root", own
        noise = os.urandom
        for name, content in [("kept", noise(MEGABYTE)), ("gone", noise(2 * MEGABYTE)), ("tiny", b"tiny"),
                              ("old", noise(MEGABYTE)), ("other", noise(9000)), ("large", noise(100_000)),
                              ("tree/a", noise(5000)), ("tree/sub/b", noise(100))]:
            write(own / name, content)
        for name, id in [("kept", "kept"), ("tree", "tree"), ("gone", "gone"), ("old", "old"), ("other", "old")]:
            self.expect(0, "stage", own / name, "--id", id)
        self.before = Store(self.root).records()

    def expect(self, code, *args):
        ended = catalog(self.root, *args)
        if ended.code != code:
            raise Damaged(f"catalog {' '.join(map(str, args))}: {ended}")
        return ended

    def nothing_has_changed(self, but=()):
        store = Store(self.root)
        problems = store.problems()
        records = store.records()
        for id in self.before.keys() - set(but):
            if records.get(id) != self.before[id]:
                problems.append(f"{id} was {self.before[id]}, is {records.get(id)}")
        problems += [f"{id} came" for id in records.keys() - self.before.keys() - set(but)]
        problems += [f"{name} was left" for name in store.unfinished()]
        if problems:
            raise Damaged("; ".join(problems))

    def fails_to_stage(self, name, id):
        """Whether there was no room: the command says so, and leaves nothing behind."""
        ended = catalog(self.root, "stage", self.src / name, "--id", id)
        if ended.code == 0:
            return False
        why = ended.crash() or ended.unclean()
        if why or not any(words in ended.err for words in ["make room", "o space left", "uota"]):
            raise Damaged(f"stage {name}: {why}: {ended}")
        self.nothing_has_changed()
        return True

    def remove(self, id):
        self.expect(0, "remove", id)
        self.nothing_has_changed(but=[id])
        self.before.pop(id, None)


def try_ground(ground, mount, own):
    """Returns the number of states without room."""
    scene = Scene(mount, own)
    things = Filled(mount, ground.inodes)
    things.take_all()
    # Nothing at all is free: what makes room works, and nothing else does.
    for name, id in [("large", "new"), ("tree", "new"), ("tiny", "new"), ("tiny", "kept")]:
        if not scene.fails_to_stage(name, id):
            raise Damaged(f"{name} was staged as {id} on a full disk")
    scene.remove("gone")
    # The removal gave the reserve up, and then made it again with the freed room.
    if not (scene.root / "store.reserve").exists():
        raise Damaged("no reserve is kept for the next removal")
    things.take_all()
    tried = 4
    # One more each time, until the file fits.
    while scene.fails_to_stage("tiny", "new"):
        tried += 1
        things.give_back_one()
    say(f"    it fits when {ENOUGH - things.spared()} are free")
    scene.expect(0, "remove", "new")

    scene.nothing_has_changed()
    things.take_all()
    scene.expect(0, "gc", "--grace", "0")
    left = Store(scene.root).debris()
    if left:
        raise Damaged("; ".join(left))
    things.take_all()
    scene.expect(0, "gc", "--grace", "0", "--max-bytes", "0")
    if Store(scene.root).records() or Store(scene.root).debris():
        raise Damaged("a collection of everything left something")
    things.give_back_all()
    scene.expect(0, "stage", scene.src / "kept", "--id", "kept")
    scene.expect(0, "stage", scene.src / "tree", "--id", "tree")
    if Store(scene.root).problems():
        raise Damaged(f"{Store(scene.root).problems()}")
    return tried


def main():
    report = Report("full_disk")
    for ground in GROUNDS:
        if len(sys.argv) > 1 and sys.argv[1] not in ground.name:
            continue
        with report.ground(ground.name), ground.make() as mount, mounts.folder() as own:
            tried = try_ground(ground, mount, own)
            report.ok(f"{ground.name}: {tried} states without enough room")
    report.finish()


if __name__ == "__main__":
    main()
