"""A prepared root with something of everything in it, and the commands that run on copies of it."""

import contextlib
import hashlib
import json
import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lib import mounts, web
from lib.command import catalog
from lib.copies import copy_root
from lib.store import Store

LONG_AGO_S = 1_600_000_000
CHUNK = 4 << 20  # how much is copied at once


@dataclass(frozen=True)
class Command:
    """One verb on the prepared root. `{src}` is the folder of the sources, `{web}` a server that has them too,
    `{own}` a folder of this state only."""

    name: str
    args: list
    # Always injected, to take a way that this file system would not take by itself.
    given: list = field(default_factory=list)
    # If threads are indispensable, it varies from run to run which of them makes the N-th call.
    one_thread: bool = True
    on_empty: bool = False
    # An id whose bytes are changed on disk beforehand.
    damaged: str = ""
    # The exit code if nothing else goes wrong.
    code: int = 0
    # Exit codes that are no failure in a second run, when the work is already done.
    again: tuple = (0,)

    def fetches(self):
        return any("{web}" in arg for arg in self.args)


BATCH = [f"{{src}}/batch/{number}" for number in range(9)]

COMMANDS = [
    Command("stage into no root", ["stage", "{src}/small", "--id", "new"], on_empty=True),
    Command("stage new", ["stage", "{src}/new", "--id", "new"]),
    Command("stage new, by sendfile", ["stage", "{src}/small", "--id", "new"],
            given=["copy_file_range:error=EXDEV"]),
    Command("stage new, by write", ["stage", "{src}/small", "--id", "new"],
            given=["copy_file_range:error=EXDEV", "sendfile:error=EINVAL"]),
    Command("stage new, view by copy", ["stage", "{src}/small", "--id", "new"], given=["linkat:error=EMLINK:when=2+"]),
    Command("stage again", ["stage", "{src}/kept", "--id", "again"]),
    Command("stage unchanged", ["stage", "{src}/kept", "--id", "kept"]),
    Command("stage from trash", ["stage", "{src}/trashed", "--id", "new"]),
    Command("stage tree", ["stage", "{src}/new-tree", "--id", "new"]),
    Command("stage batch", ["stage", *BATCH], one_thread=False),
    Command("restage", ["stage", "{src}/old-2", "--id", "old"]),
    Command("restage, prev by copy", ["stage", "{src}/old-2", "--id", "old"],
            given=["linkat:error=EPERM:when=2+"]),
    # Without threads, one worker fetches, and each run makes the same calls.
    Command("stage fetched", ["stage", "http://{web}/fetched", "--id", "new", "--allow-net", "{web}", "--retries", "1"],
            given=["clone,clone3:error=ENOSYS"], one_thread=False),
    Command("stage move", ["stage", "{own}/moved", "--id", "new", "--mode", "move"], again=(0, 3)),
    Command("retire", ["retire", "kept"]),
    Command("config", ["config", "set", "max_bytes", "1GB"]),
    Command("verify", ["verify", "--all"], one_thread=False, damaged="gone", code=4, again=(4,)),
    Command("repair", ["repair", "gone"], one_thread=False, damaged="gone"),
    Command("remove", ["remove", "gone"], again=(0, 3)),
    Command("remove shared", ["remove", "twin"], again=(0, 3)),
    Command("remove tree", ["remove", "tree"], again=(0, 3)),
    Command("gc", ["gc", "--retired-after", "0s"]),
    Command("gc at once", ["gc", "--grace", "0"]),
    Command("gc for room", ["gc", "--grace", "0", "--max-bytes", "300KB"]),
]


class World:
    """Sources that nobody changes, and a root that is copied for each state."""

    def __init__(self, folder, served):
        self.folder, self.served = Path(folder), served
        self.src, self.template = self.folder / "src", self.folder / "template" / "root"

    def prepare(self):
        noise = random.Random(7)
        sizes = {"kept": 300_000, "old-1": 5_000, "old-2": 6_000, "gone": 40_000, "twin": 7_000, "trashed": 9_000,
                 "stray": 8_000, "small": 20_000, "new": CHUNK + 100_000, "fetched": 2 * CHUNK + 100_000, "retired": 3_000,
                 "moved": 50_000, "tree/a": 1_000, "tree/sub/b": 0, "tree/sub/c": 70_000,
                 "new-tree/a": 2_000, "new-tree/sub/b": 0, "new-tree/sub/c": 30_000}
        sizes |= {f"batch/{number}": 500 + number for number in range(9)}
        for name, size in sizes.items():
            write(self.src / name, noise.randbytes(size))
        (self.folder / "template").mkdir()
        for name, id in [("kept", "kept"), ("tree", "tree"), ("old-1", "old"), ("gone", "gone"), ("twin", "twin"),
                         ("twin", "twin 2"), ("retired", "retired"), ("trashed", "passing"), ("kept", "passing"),
                         ("stray", "strayed")]:
            self.run("stage", self.src / name, "--id", id)
        self.run("retire", "retired")
        self.run("gc")  # the first content of "passing" goes to trash, and its view stays for the grace
        self.run("stage", self.src / "small", "--id", "strayed")  # and nothing needs the blob of "stray"
        self.run("remove", "strayed")
        self.leave_what_the_dead_leave()

    def run(self, *args):
        ended = catalog(self.template, *args)
        if ended.code != 0:
            raise SystemExit(f"could not prepare a root: catalog {args}: {ended}")

    def leave_what_the_dead_leave(self):
        """In the form of docs/format.md: a session, an unfinished shard, an outboard without a blob, a blob without
        a record, an empty folder of views."""
        root = self.template
        session = root / "ingest/0123456789abcdef"
        session.mkdir(mode=0o700)
        write(session / "0", b"half of someth")
        write(root / "index/.0123456789abcdef.tmp", b'{"format":1,"gen')
        nothing = "ab" * 32
        stamp = {"inode": 1, "size_bytes": 1, "mtime_ns": 1}
        write(root / f"outboards/sha256/ab/{nothing}.json", json.dumps({"format": 1, "stamp": stamp}).encode())
        content = b"a blob that no record needs"
        blob = Store(root).blob(sha256(content))
        write(blob, content)
        blob.chmod(0o444)
        (root / "views/left-0123456789abcdef").mkdir()

    def words(self, command, folder):
        return [arg.format(src=self.src, own=folder / "own", web=self.served) for arg in command.args]

    def state(self, folder, command):
        """A root of its own, and a folder for a source that is moved."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "own").mkdir(parents=True)
        shutil.copy2(self.src / "moved", folder / "own/moved")
        if not command.on_empty:
            copy_root(self.template, folder / "root")
        if command.damaged:
            damage(folder / "root", command.damaged)
        return folder / "root"


@contextlib.contextmanager
def prepared():
    """A world, and a place for one state at a time."""
    with mounts.folder() as folder, web.serving(folder / "world/src") as served:
        world = World(folder / "world", served)
        world.prepare()
        yield world, folder / "state"


def damage(root, id):
    """Changes a byte in the middle, as a disk would: no write shows in the metadata."""
    store = Store(root)
    at = root / store.records()[id]["path"]
    times = at.stat()
    at.chmod(0o644)
    with open(at, "r+b") as file:
        file.seek(times.st_size // 2)
        byte = file.read(1)[0]
        file.seek(times.st_size // 2)
        file.write(bytes([byte ^ 1]))
    at.chmod(0o444)
    os.utime(at, ns=(times.st_atime_ns, times.st_mtime_ns))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def write(path, content):
    """A file whose modification time is long ago, so that its stamp can be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
