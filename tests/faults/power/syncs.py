"""The syncs of a step, under names that are the same in each run."""

import collections
import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Sync:
    call: str
    what: str
    at: int  # its number, as its session counts
    is_main: bool = False  # whether the main thread makes it
    is_alone: bool = True  # whether it can be left out without leaving out another
    excuse: str = ""  # why nothing is lost without it


def numbered(syncs):
    """Numbers the syncs with the same name."""
    total = collections.Counter(sync.what for sync in syncs)
    seen = collections.Counter()
    told = []
    for sync in syncs:
        seen[sync.what] += 1
        what = f"{sync.what}, {seen[sync.what]}" if total[sync.what] > 1 else sync.what
        told.append(dataclasses.replace(sync, what=what))
    return told


def name(call, path, root):
    """What a path is, without the parts that differ from run to run."""
    if call == "syncfs":
        return "the file system"
    if path != root and not path.startswith(f"{root}/"):
        return "the folder above the root"
    path = path.removeprefix(root).strip("/")
    if path == "":
        return "the root"
    if path.startswith("ingest/"):
        return "a private file"
    if re.fullmatch(r"index/\.\w+\.tmp", path):
        return "a new shard"
    if re.fullmatch(r"\.\w+\.tmp", path):
        return "a new file of the root"
    path = re.sub(r"^(views/)[^/]+", r"\1<slug>", path)
    path = re.sub(r"/[0-9a-f]{40}(?=/|$)", "/<40 hex>", path)
    return re.sub(r"/[0-9a-f]{2}$", "/<xx>", path) + "/"
