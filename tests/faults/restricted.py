#!/usr/bin/env python3
"""A file system or a sandbox that offers less than others: system calls that are refused. Work is done the slower way.

The calls are refused by a seccomp filter, as a container's are, for all of each command.

    tests/faults/restricted.py

Seen red: a `statfs` that is refused is an error.
"""

import shutil
import tempfile
from pathlib import Path

from lib import seccomp
from lib.command import binary, finish, start
from lib.report import Report
from lib.seccomp import Refusal
from lib.store import Store
from lib.world import COMMANDS, World

# Each with the note that has to be there once.
GROUNDS = [
    ("statfs is refused", [Refusal("statfs", "EACCES")], "does not tell how much room it has"),
    ("statfs is not known", [Refusal("statfs", "ENOSYS")], "does not tell how much room it has"),
]
NOTED = ("stage", "gc", "repair")


def try_command(world, folder, command, refusals, note):
    root = world.state(folder, command)
    damaged = command.damaged and Store(world.template).records()[command.damaged]["digest"]
    words = [binary(), *command.words(world.src, folder / "own")]
    ended = finish(start(words, root, preexec_fn=seccomp.filtered(refusals)))
    store = Store(root, [command.damaged, damaged.removeprefix("sha256:")] if damaged else [])
    problems = [ended.crash(), *store.problems()]
    if ended.code != command.code:
        problems.append(f"it does not end with {command.code}: {ended}")
    wanted = 1 if note and command.args[0] in NOTED else 0
    if note and ended.err.count(note) != wanted:
        problems.append(f"it is said {ended.err.count(note)} times and not {wanted}: {ended.err}")
    problems += [f"{name} was left" for name in store.unfinished() - Store(world.template).unfinished()]
    return [f"{command.name}: {problem}" for problem in problems if problem]


def main():
    report = Report("restricted")
    why = seccomp.missing()
    if why:
        report.skip(why)
        report.finish()
    folder = Path(tempfile.mkdtemp(prefix="catalog-faults-"))
    try:
        world = World(folder / "world")
        world.prepare()
        for name, refusals, note in GROUNDS:
            problems = []
            for command in COMMANDS:
                if not command.given:
                    problems += try_command(world, folder / "state", command, refusals, note)
            report.check(name, problems)
    finally:
        shutil.rmtree(folder)
    report.finish()


if __name__ == "__main__":
    main()
