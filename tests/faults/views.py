#!/usr/bin/env python3
"""Rows 8, 9 and 10: a hardlink is refused. The view is then a reflink or a copy, and the record says so.

tests/filesystems.rs tests the refusals themselves: all 65,000 names taken (EMLINK), the source on another file system
(EXDEV), a file system without hardlinks, another user's blob (EPERM, fs.protected_hardlinks). Here, each refusal is
injected at each link of a view, on a file system with reflinks and on one without. strace_sweep.py ("stage new, view by
copy") kills and fails every file system call on the other way.

    tests/faults/views.py

Seen red: EMLINK does not count as a refusal; a mount below the root is called a way out of it.
"""

import shutil
import tempfile
from pathlib import Path

from lib import mounts, strace
from lib.command import catalog
from lib.report import Report
from lib.store import Store, files_below

REFUSALS = ["EMLINK", "EXDEV", "EPERM", "EOPNOTSUPP", "EACCES"]
GROUNDS = [("tmpfs", lambda: mounts.tmpfs("size=64m"), "copy"),
           ("xfs", lambda: mounts.image(64, ["mkfs.xfs", "-q", "--unsupported"]), "reflink")]
COMMANDS = [("stage", ["{src}/a", "--id", "new"]), ("stage a tree", ["{src}/tree", "--id", "new"]),
            ("restage", ["{src}/b", "--id", "old"]), ("stage the same again", ["{src}/old", "--id", "new"])]


class Scene:
    def __init__(self, mount, src):
        self.at, self.src, self.log = mount.at, src, src / "log"
        for name in ["a", "b", "old", "tree/x", "tree/sub/y", "tree/sub/z"]:
            (src / name).parent.mkdir(parents=True, exist_ok=True)
            (src / name).write_bytes(name.encode() * 2000)

    def new_root(self):
        shutil.rmtree(self.at / "root", ignore_errors=True)
        self.stage(["{src}/old", "--id", "old"])
        return self.at / "root"

    def stage(self, args, before=()):
        return catalog(self.at / "root", "stage", *(arg.format(src=self.src) for arg in args), before=before)

    def links(self, args):
        """The N of each linkat that gives a view its name."""
        self.new_root()
        self.stage(args, strace.words(self.log, ["linkat"]))
        calls = [line for _, call, line in strace.lines(self.log) if call == "linkat"]
        names = {path.name for path in self.src.rglob("*")}
        return [number for number, line in enumerate(calls, 1) if line.split('"')[-2] in names]


def try_refusal(scene, args, refusal, at, expected):
    """`at` says which links are refused, and `expected` what replaces the hardlinks."""
    root = scene.new_root()
    ended = scene.stage(args, strace.words(scene.log, ["linkat"], [f"linkat:error={refusal}:when={at}"]))
    store = Store(root)
    problems = [ended.crash(), *store.problems()]
    if ended.code != 0:
        problems.append(f"{refusal} at {at}: it fails: {ended}")
    elif strace.injected(scene.log, "linkat") is None:
        problems.append(f"{refusal} at {at}: nothing was refused")
    else:
        id = args[-1]
        view = store.records()[id]["view"]
        shown = catalog(root, "show", id, "--json").objects()[0]["view"]
        # If only one link is refused, the second attempt may get its hardlink.
        if view != shown or view not in ({expected} if at.endswith("+") else {expected, "hardlink"}):
            problems.append(f"{refusal} at {at}: the view is {view}, shown as {shown}, not {expected}")
        problems += [f"{name} was left" for name in store.unfinished()]
    catalog(root, "gc", "--grace", "0")
    problems += Store(root).problems() + Store(root).debris()
    return [problem for problem in problems if problem]


def try_ground(name, scene, expected, report):
    for verb, args in COMMANDS:
        links = scene.links(args)
        problems, states = [], 0
        for refusal in REFUSALS:
            for at in [*map(str, links), f"{links[0]}+"]:
                problems += try_refusal(scene, args, refusal, at, expected)
                states += 1
        report.check(f"{name}: {verb}: {states} states, all views that were refused are {expected}", problems)


def try_mount_below(scene):
    """Another file system is mounted over an id's views. It accepts neither hardlinks nor renames from `ingest/`: a
    failure that changes nothing, and says why."""
    root = scene.new_root()
    before = Store(root).records()
    home = (root / before["old"]["path"]).parent.parent
    kept = Path(tempfile.mkdtemp(dir=scene.src))
    shutil.copytree(home, kept / "home")
    with mounts.mounted(["-t", "tmpfs", "tmpfs"], home):
        shutil.copytree(kept / "home", home, dirs_exist_ok=True)
        ended = scene.stage(["{src}/b", "--id", "old"])
        records = Store(root).records()
        problems = [ended.crash()]
        problems.append(ended.unclean())
        if "is on a different file system from the root" not in ended.err:
            problems.append(f"it does not say why: {ended.err}")
        if records != before:
            problems.append(f"it failed, and the record is {records['old']}")
        if len(files_below(home)) != 1:
            problems.append(f"a half-made view is left: {files_below(home)}")
        problems += [f"{name} was left" for name in Store(root).unfinished()]
    return [problem for problem in problems if problem]


def main():
    report = Report("views")
    report.need(strace.missing())
    for name, ground, expected in GROUNDS:
        with report.ground(name), ground() as mount, mounts.folder() as src:
            scene = Scene(mount, src)
            try_ground(name, scene, expected, report)
            report.check(f"{name}: a mount below views/", try_mount_below(scene))
    report.finish()


if __name__ == "__main__":
    main()
