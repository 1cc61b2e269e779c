#!/usr/bin/env python3
"""A file system or a sandbox that offers less: it refuses system calls. The work is done in a slower way.

A seccomp filter refuses the calls, as in a container, for the whole command.

    tests/faults/restricted.py

Seen red: a refused `statfs`, `syncfs`, `fchmod` or `fallocate` is an error; without /proc, linking the source is tried
all the same; a file that cannot be mapped is an error; SIGXFSZ kills; `locks_work` opens its file for reading only.
"""

import os
import shutil
from dataclasses import dataclass

from lib import seccomp, strace
from lib.command import binary, catalog, finish, start
from lib.report import Report
from lib.seccomp import Refusal
from lib.store import Store
from lib.world import COMMANDS, prepared

# Hides /proc from a command, as a chroot without one does.
WITHOUT_PROC = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
MAP_SHARED = (3, 0xF, 1)
NO_ROOM = "does not report its free space"


@dataclass(frozen=True)
class Ground:
    name: str
    refusals: list = ()
    before: list = ()
    # What the verbs that ask for room must say once.
    note: str = ""


GROUNDS = [
    Ground("statfs is refused", [Refusal("statfs", "EACCES")], note=NO_ROOM),
    Ground("statfs is not known", [Refusal("statfs", "ENOSYS")], note=NO_ROOM),
    Ground("syncfs is refused", [Refusal("syncfs", "EPERM")]),
    Ground("syncfs is not known", [Refusal("syncfs", "ENOSYS")]),
    Ground("fchmod is refused", [Refusal("fchmod", "EPERM")]),
    Ground("fchmod is not known", [Refusal("fchmod", "ENOSYS")]),
    Ground("fallocate is refused", [Refusal("fallocate", "EPERM")]),
    # The loader's maps are private, the command's are shared.
    Ground("files cannot be mapped", [Refusal("mmap", "ENODEV", MAP_SHARED)]),
    Ground("mapping files is refused", [Refusal("mmap", "EPERM", MAP_SHARED)]),
    Ground("there is no /proc", before=WITHOUT_PROC),
]
NOTED = ("stage", "gc", "repair")


def run(ground, root, args):
    words = [*ground.before, binary(), *args]
    # Only the command is restricted: `mount` is not under test.
    options = {"preexec_fn": seccomp.filtered(ground.refusals)} if ground.refusals else {}
    return finish(start(words, root, **options))


def try_command(world, folder, command, ground):
    root = world.state(folder, command)
    damaged = command.damaged and Store(world.template).records()[command.damaged]["digest"]
    ended = run(ground, root, world.words(command, folder))
    store = Store(root, [command.damaged, damaged.removeprefix("sha256:")] if damaged else [])
    problems = [ended.crash(), *store.problems()]
    if ended.code != command.code:
        problems.append(f"it does not end with {command.code}: {ended}")
    wanted = 1 if command.args[0] in NOTED else 0
    if ground.note and ended.err.count(ground.note) != wanted:
        problems.append(f"it is said {ended.err.count(ground.note)} times and not {wanted}: {ended.err}")
    problems += [f"{name} was left" for name in store.unfinished() - Store(world.template).unfinished()]
    return [f"{command.name}: {problem}" for problem in problems if problem]


def try_link_without_proc(world, folder):
    """Nobody can tell who writes to the source: a link does not take it, and it stays unchanged; a move copies it."""
    root = world.state(folder, COMMANDS[1])
    source = folder / "own/moved"
    mode = source.stat().st_mode
    ground = GROUNDS[-1]
    refused = run(ground, root, ["stage", source, "--id", "new", "--mode", "link"])
    problems = [refused.crash(), refused.unclean()]
    if "without /proc" not in refused.err or "--mode copy" not in refused.err:
        problems.append(f"it does not say why, and what to do: {refused}")
    if source.stat().st_mode != mode or source.stat().st_nlink != 1:
        problems.append("the source has changed")
    moved = run(ground, root, ["stage", source, "--id", "new", "--mode", "move"])
    if moved.code != 0 or source.exists():
        problems.append(f"it is not moved: {moved}")
    return [problem for problem in [*problems, *Store(root).problems()] if problem]


def try_file_size_limit(world, folder):
    """A file beyond `ulimit -f` is an error in one line, not a death by SIGXFSZ."""
    problems = []
    for command in COMMANDS:
        if command.name not in ("stage new", "stage tree", "stage batch", "stage into no root"):
            continue
        root = world.state(folder, command)
        before = Store(root).records()
        words = ["prlimit", "--fsize=300", binary(), *world.words(command, folder)]
        ended = finish(start(words, root))
        here = [ended.crash(), ended.unclean(), *Store(root).problems()]
        if "ulimit -f" not in ended.err:
            here.append(f"it does not say what to do: {ended}")
        if Store(root).records() != before:
            here.append("it has recorded something")
        problems += [f"{command.name}: {problem}" for problem in here if problem]
    return problems


def try_lock_probe(world, folder):
    """NFS gives no exclusive lock on a file that is open for reading only."""
    root = world.state(folder, COMMANDS[1])
    log = folder / "log"
    ended = catalog(root, "list", before=strace.words(log, ["openat", "openat2"], one_thread=False))
    opened = [line for _, _, line in strace.lines(log) if 'probe"' in line]
    problems = [] if ended.code == 0 else [f"it fails: {ended}"]
    if not opened or not all("O_RDWR" in line for line in opened):
        problems.append(f"locks/probe is not open for writing: {opened}")
    return problems


def main():
    report = Report("restricted")
    report.need(seccomp.missing())
    with prepared() as (world, folder):
        for ground in GROUNDS:
            if ground.before and (os.geteuid() != 0 or not shutil.which("unshare")):
                report.skip(f"{ground.name}: to hide it needs root and unshare")
                continue
            problems = []
            for command in COMMANDS:
                if not command.given:
                    problems += try_command(world, folder, command, ground)
            report.check(ground.name, problems)
            if ground.before:
                report.check(f"{ground.name}: link and move", try_link_without_proc(world, folder))
        if shutil.which("prlimit"):
            report.check("files may not be large", try_file_size_limit(world, folder))
        else:
            report.skip("prlimit is not installed")
        if strace.missing():
            report.skip(strace.missing())
        else:
            report.check("the lock probe is open for writing", try_lock_probe(world, folder))
    report.finish()


if __name__ == "__main__":
    main()
