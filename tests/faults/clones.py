#!/usr/bin/env python3
"""Row 37: FICLONE returns EAGAIN or EINTR, as OpenZFS does for a file that was just written, or reports success after
cloning less than all of the source. A copy is made instead, also by `repair`.

Each FICLONE of a command gets these results, on xfs. strace cannot shorten a clone, so the short clone here has no
bytes at all; `a_clone_that_is_short_is_emptied_and_one_of_a_source_that_changes_is_not` in src/fs/link.rs has one with
some.

    tests/faults/clones.py

Seen red: EAGAIN and EINTR do not count as refusals; the size of a clone is not checked.
"""

import random
import shutil

from lib import mounts, strace
from lib.command import catalog
from lib.report import Report
from lib.store import Store, sha256_of
from lib.world import damage, write

ANSWERS = ["error=EAGAIN", "error=EINTR", "retval=0"]
SIZES = {"a": 3 << 20, "old": 5 << 20, "large": 65 << 20, "tree/x": 10, "tree/sub/y": 70_000}
VIEW_BY_REFLINK = ["linkat:error=EMLINK:when=2+"]
# Each with its sources, by their ids.
COMMANDS = [("stage", ["stage", "{src}/a", "--id", "new"], [], {"new": "a"}),
            ("stage, the view by reflink", ["stage", "{src}/a", "--id", "new"], VIEW_BY_REFLINK, {"new": "a"}),
            ("stage what outlives its process", ["stage", "{src}/large", "--id", "new"], [], {"new": "large"}),
            ("stage a tree", ["stage", "{src}/tree", "--id", "new"], [], {"new": "tree"}),
            ("stage a batch", ["stage", "{src}/a", "{src}/large"], [], {"file:{src}/a": "a", "file:{src}/large": "large"}),
            ("repair", ["repair", "old"], [], {"old": "old"})]


class Scene:
    def __init__(self, mount):
        self.at, self.src, self.log = mount.at, mount.at / "src", mount.at / "log"
        noise = random.Random(37)
        for name, size in SIZES.items():
            write(self.src / name, noise.randbytes(size))

    def run(self, args, injects=()):
        """Runs on a new root. If "old" is to be repaired, it is damaged first."""
        root = self.at / "root"
        shutil.rmtree(root, ignore_errors=True)
        catalog(root, "stage", self.src / "old", "--id", "old")
        if args[0] == "repair":
            damage(root, "old")
            catalog(root, "verify", "old")
        args = [arg.format(src=self.src) for arg in args]
        return root, catalog(root, *args, "--json", before=strace.words(self.log, ["ioctl"], injects))

    def clones(self, args, given):
        """The N of each ioctl that is a FICLONE. If several threads make them, which strace counts separately: all
        ioctls."""
        self.run(args, given)
        calls = [(process, line) for process, call, line in strace.lines(self.log) if call == "ioctl"]
        clones = [number for number, (_, line) in enumerate(calls, 1) if "FICLONE" in line]
        return clones if len({process for process, _ in calls}) == 1 else ["1+"]

    def wrong_bytes(self, root, id, name):
        """The record has the bytes of the source: even an incomplete clone would match its own hash."""
        source = self.src / name
        files = [path for path in [source, *source.rglob("*")] if path.is_file()]
        stored = [digest for _, digest in Store(root).files_of(Store(root).records()[id.format(src=self.src)])]
        is_right = sorted(stored) == sorted(sha256_of(file) for file in files)
        return [] if is_right else [f"{id} does not have the bytes of {source}"]


def try_answer(scene, args, injects, sources):
    root, ended = scene.run(args, injects)
    # The damaged file stays in quarantine.
    hurt = [sha256_of(scene.src / "old")] if args[0] == "repair" else []
    problems = [ended.crash(), *Store(root, hurt).problems()]
    if ended.code != 0:
        problems.append(f"it fails: {ended}")
    else:
        problems += [problem for id, name in sources.items() for problem in scene.wrong_bytes(root, id, name)]
    if not any("FICLONE" in line and "INJECTED" in line for _, _, line in strace.lines(scene.log)):
        problems.append("no clone was refused")
    problems += [f"{name} was left" for name in Store(root).unfinished()]
    return [f"{injects[-1]}: {problem}" for problem in problems if problem]


def try_command(scene, name, args, given, sources, report):
    clones = scene.clones(args, given)
    problems = [] if clones else ["it clones nothing"]
    for number in clones:
        for answer in ANSWERS:
            problems += try_answer(scene, args, [*given, f"ioctl:{answer}:when={number}"], sources)
    report.check(f"{name}: {len(clones) * len(ANSWERS)} states", problems)


def try_reflink_alone(scene):
    """`--mode reflink` allows nothing else, and says why it failed."""
    args = ["stage", "{src}/a", "--id", "new", "--mode", "reflink"]
    problems = []
    for answer, why in zip(ANSWERS, ["temporarily unavailable", "Interrupted", "shorter than its source"]):
        root, ended = scene.run(args, [f"ioctl:{answer}:when={scene.clones(args, [])[-1]}"])
        problems += [ended.crash(), ended.unclean(), *Store(root).problems()]
        if why not in ended.err or "new" in Store(root).records():
            problems.append(f"{answer}: {ended}")
    return [problem for problem in problems if problem]


def main():
    report = Report("clones")
    report.need(strace.missing())
    with report.ground("xfs"), mounts.image(400, ["mkfs.xfs", "-q"]) as mount:
        scene = Scene(mount)
        for name, args, given, sources in COMMANDS:
            try_command(scene, name, args, given, sources, report)
        report.check("--mode reflink", try_reflink_alone(scene))
    report.finish()


if __name__ == "__main__":
    main()
