#!/usr/bin/env python3
"""Row 16: `flock` succeeds and excludes nobody, or the kernel does not know it.

Work may be done twice; nothing may be damaged, and nothing is collected. tests/fleet/no_locks.rs does the same with many
processes on the library; this suite tests the command, its output and its exit codes.

    tests/faults/no_locks.py

Seen red: a collection that does not check whether locks work takes another process's files.
"""

from lib import strace
from lib.command import binary, catalog, finish, start
from lib.report import Report
from lib.states import summary
from lib.store import Store, files_below
from lib.world import COMMANDS, prepared

LOCKS = [("flock does nothing", "flock:retval=0"), ("flock is not known", "flock:error=ENOSYS")]
NOTE = "file locks do nothing on the file system of"
ROUNDS, TOGETHER = 5, 4


def try_command(world, folder, command, inject):
    """One command on its own: it does its work or refuses, it says why, and nothing is damaged."""
    root = world.state(folder, command)
    before = Store(root)
    had, files = summary(before.records()), {str(path) for path in files_below(root)}
    traced = strace.words(folder / "log", ["flock"], [inject], one_thread=False)
    ended = catalog(root, *world.words(command, folder), before=traced)
    problems = [ended.crash(), *Store(root).problems()]
    now = summary(Store(root).records())
    # Only `config` does without the note: it changes store.json under a lock, and nothing else.
    if command.args[0] in ("stage", "remove", "gc") and NOTE not in ended.err:
        problems.append(f"it does not say that locks do nothing: {ended}")
    if command.args[0] == "gc":
        if ended.code != 1 or "locks do nothing" not in ended.err.split(NOTE, 1)[-1]:
            problems.append(f"it does not refuse: {ended}")
        if now != had or files - {str(path) for path in files_below(root)}:
            problems.append("it has taken something all the same")
    elif command.args[0] == "remove":
        if command.args[1] in now:
            problems.append("the entry is still there")
        if ended.code != 0:
            problems.append(f"it fails: {ended}")
    elif ended.code != 0:
        problems.append(f"it fails: {ended}")
    problems += leaves_nothing(root)
    return [problem for problem in problems if problem]


def try_together(world, folder, inject):
    """Several processes stage the same file under one id, and their own files under others, at the same time."""
    root = world.state(folder, COMMANDS[1])
    problems = []
    for number in range(ROUNDS):
        running = []
        for own in range(TOGETHER):
            for source, id in [("new", f"same {number}"), ("small", f"own {number} {own}")]:
                log = folder / f"log-{source}-{own}"
                words = strace.words(log, ["flock"], [inject], one_thread=False)
                args = ["stage", world.src / source, "--id", id]
                running.append((id, args, start([*words, binary(), *args], root)))
        for id, args, process in running:
            ended = finish(process)
            if ended.code == 5:  # another writer came between too often: retry, as a caller would
                ended = catalog(root, *args)
            if ended.code != 0:
                problems.append(f"{id}: {ended}")
            elif id not in Store(root).records():
                problems.append(f"{id} was acknowledged and is not there")
        problems += Store(root).problems()
    return problems + leaves_nothing(root)


def leaves_nothing(root):
    """Once locks work again, a collection removes the leftovers."""
    collected = catalog(root, "gc", "--grace", "0")
    if collected.code != 0:
        return [f"gc with locks: {collected}"]
    return Store(root).problems() + Store(root).debris()


def main():
    report = Report("no_locks")
    report.need(strace.missing())
    with prepared() as (world, folder):
        for name, inject in LOCKS:
            for command in COMMANDS:
                if not command.given and not command.damaged:
                    report.check(f"{name}: {command.name}", try_command(world, folder, command, inject))
            report.check(f"{name}: {ROUNDS} rounds of {2 * TOGETHER} at once",
                         try_together(world, folder, inject))
    report.finish()


if __name__ == "__main__":
    main()
