#!/usr/bin/env python3
"""Rows 1, 3, 6, 15: every system call of a command fails, or the command is killed on it.

For each command of lib/world.py, each call of lib/states.py and each N: the N-th such call after the first touch of the
root fails, or the process is killed on it; then the root is checked as lib/states.py says.

    tests/faults/strace_sweep.py                        what CI runs
    tests/faults/strace_sweep.py --every 1 --at-most 0  every state there is
    tests/faults/strace_sweep.py --seed 5 --every 3     every third, from a chosen offset
    tests/faults/strace_sweep.py --only "stage new" --call fsync
    tests/faults/strace_sweep.py --state "stage new" fsync EIO 2  one state; its root is kept for inspection

Seen red: a shard is removed before the new one takes its name (killed and failing at renameat); a failed fsync is
ignored; a failed stage leaves files in ingest/.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from lib import strace, web
from lib.command import binary, catalog
from lib.report import Report, say
from lib.states import FAULTS, State, Trial, kinds, summary
from lib.store import Store
from lib.world import COMMANDS, World

SHOWN = 3  # problems of one kind

# A command makes hundreds of these, and nothing on disk changes between two of them.
MOSTLY_LOOKS = {"open", "openat", "openat2", "read", "getdents64", "flock", "ioctl"}


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="try every K-th N only")
    parser.add_argument("--at-most", type=int, default=12,
                        help="states for one command, call and fault, a third of it for calls that only look; more are "
                             "thinned out evenly; 0: no limit")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CATALOG_TEST_SEED", "1")))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="commands whose name has this in it")
    parser.add_argument("--call", help="this system call alone")
    parser.add_argument("--state", nargs=4, metavar=("COMMAND", "CALL", "FAULT", "N"))
    return parser.parse_args()


def scratch():
    """In memory if possible: nothing that this shows needs an fsync that reaches a disk."""
    shm = Path("/dev/shm")
    return tempfile.mkdtemp(prefix="catalog-faults-", dir=shm if os.access(shm, os.W_OK) else None)


def baseline(world, folder, command):
    """How often each call is made without a fault, and the final records."""
    root = world.state(folder, command)
    log = folder / "log"
    traced = strace.words(log, FAULTS, command.given, command.one_thread)
    trial = Trial(world, folder, command, {})
    ended = catalog(root, *trial.words(), before=traced)
    if ended.code != command.code:
        raise SystemExit(f"{command.name} fails without a fault: {ended}")
    given = {call for inject in command.given for call in inject.split(":")[0].split(",")}
    calls = {call: span for call, span in strace.reachable(log, root).items() if call in FAULTS and call not in given}
    return calls, summary(Store(root).records())


def chosen(first, last, how, call, cell):
    """Which N of a cell are tried: all, or evenly spread from an offset that depends on the seed and the cell."""
    count = last - first + 1
    at_most = max(1, how.at_most // 3) if call in MOSTLY_LOOKS else how.at_most
    step = max(how.every, -(-count // at_most) if how.at_most else 1)
    offset = random.Random(f"{how.seed} {cell}").randrange(min(step, count))
    return range(first + offset, last + 1, step)


_trials = {}


def begin_worker(world, folder, afters):
    # The pool ends its workers with this signal. A worker that ends with an exception instead, as report.py arranges,
    # may take the lock of the queue with it, and the pool then waits for ever for another worker that needs the lock.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    own = Path(folder) / str(os.getpid())
    for number, after in afters.items():
        _trials[number] = Trial(world, own, COMMANDS[number], after)


def try_state(state):
    return state, _trials[state.command].run(state)


def main():
    how = options()
    report = Report("strace_sweep")
    report.need(strace.missing() or web.missing())
    folder = Path(scratch())
    try:
        with web.serving(folder / "world/src") as served:
            world = World(folder / "world", served)
            world.prepare()
            if how.state:
                try_one(world, folder, *how.state)
            else:
                sweep(world, folder, how, report)
    finally:
        if not how.state:
            shutil.rmtree(folder)
    report.finish()


def sweep(world, folder, how, report):
    say(f"seed {how.seed}, every {how.every}, at most {how.at_most}, in {folder}")
    states, afters = [], {}
    for number, command in enumerate(COMMANDS):
        if how.only and how.only not in command.name:
            continue
        calls, afters[number] = baseline(world, folder / "baseline", command)
        for call, (first, last) in sorted(calls.items()):
            if how.call and how.call != call:
                continue
            for fault in kinds(call, command):
                cell = f"{command.name} {call} {fault}"
                states += [State(number, call, fault, n) for n in chosen(first, last, how, call, cell)]
    begin = time.monotonic()
    found = defaultdict(list)
    with multiprocessing.Pool(how.jobs, begin_worker, (world, folder, afters)) as pool:
        for number, (state, outcome) in enumerate(pool.imap_unordered(try_state, states, chunksize=8), 1):
            found[state.command, state.call, state.fault].append((state, outcome))
            if number % 1000 == 0:
                say(f"... {number} of {len(states)} states, {time.monotonic() - begin:.0f} s")
        pool.close()
        pool.join()
    show(found, report)
    outcomes = Counter(outcome.ended for cell in found.values() for _, outcome in cell)
    say(f"{len(states)} states in {time.monotonic() - begin:.0f} s: {dict(outcomes)}")
    missed = [state for cell in found.values() for state, outcome in cell if outcome.ended == "missed"]
    missed = [state for state in missed if COMMANDS[state.command].one_thread]
    if len(missed) > len(states) // 50:
        report.fail(f"{len(missed)} faults found no call to hit: {missed[:SHOWN]}")


def show(found, report):
    """A line for each command and call, with the outcome of each fault."""
    rows = defaultdict(list)
    for (number, call, fault), cell in found.items():
        rows[number, call].append((fault, cell))
    for (number, call), cells in sorted(rows.items()):
        words, problems = [], []
        for fault, cell in sorted(cells):
            ended = Counter(outcome.ended for _, outcome in cell)
            words.append(f"{fault} {' '.join(f'{count} {end}' for end, count in sorted(ended.items()))}")
            bad = [(state, outcome) for state, outcome in cell if outcome.problems]
            if bad:
                problems.append(f"{fault}: {len(bad)} of {len(cell)} states")
            for state, outcome in bad[:SHOWN]:
                problems += [f"N={state.number}: {problem}" for problem in outcome.problems]
                problems += outcome.how.splitlines()
        report.check(f"{COMMANDS[number].name}: {call}: {'; '.join(words)}", problems)


def try_one(world, folder, name, call, fault, number):
    index = next(index for index, command in enumerate(COMMANDS) if command.name == name)
    _, after = baseline(world, folder / "baseline", COMMANDS[index])
    outcome = Trial(world, folder / "state", COMMANDS[index], after).run(State(index, call, fault, int(number)))
    say(f"{outcome.ended}\n    {outcome.how}")
    say("\n".join(outcome.problems) or "no problems")
    say(f"the root is {folder / 'state/root'}")
    sys.exit(1 if outcome.problems else 0)


if __name__ == "__main__":
    main()
