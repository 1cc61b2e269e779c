"""The same with one sync left out, each in turn: strace answers 0 in its place, and the kernel never sees it.

So it is seen which of them this suite would miss if the product forgot it, and on which file system.
"""

import collections
import dataclasses
import re
import time

from . import disk
from .session import Session
from .workload import Expected, Step

CALLS = "fsync,fdatasync,syncfs,sync_file_range"

# The syncs without which a loss has to be found, by the file systems that CI runs: what shows that the suite can fail.
PROOFS = {
    "stage a file": ["a private file", "a new shard", "index/"],
    "stage a batch": ["the file system, 1", "the file system, 2", "index/"],
    "set the quota": ["a new store.json", "the root"],
}


@dataclasses.dataclass(frozen=True)
class Sync:
    call: str
    what: str
    number: int  # among the calls of this name in its thread
    is_main: bool  # whether it is the main thread's


def prove(session, seed):
    """Leaves out what must be missed when it is. Answers how often it was not."""
    missed = 0
    for step in session.steps:
        for sync in target(session, step, PROOFS.get(step.name, [])):
            losses = leave_out(session, step, sync, samples=1, seed=seed, is_first_enough=True)
            if not losses:
                missed += 1
                print(f"MISSED on {session.kind}: no loss without {sync.call} of {sync.what} of {step.name!r}", flush=True)
    return missed


def run(arguments, place, binary):
    """A table of all syncs of the workload's steps, and of what is lost without each."""
    rows = collections.defaultdict(dict)
    for kind in arguments.fs:
        begun, losses_without = time.monotonic(), 0
        session = Session(kind, place / kind, binary)
        for step in session.steps:
            if arguments.without not in step.name:
                continue
            for sync in target(session, step):
                losses = leave_out(session, step, sync, arguments.samples, arguments.seed)
                losses_without += bool(losses)
                rows[step.name, sync.call, sync.what][kind] = summary(losses)
                print(f"{kind}: {step.name}: without {sync.call} of {sync.what}: {summary(losses)}", flush=True)
                for line in losses[0].what[:3] if losses else []:
                    print(f"    {losses[0].state}: {line.text}")
        print(
            f"{kind}: {session.runs} syncs left out, {losses_without} found, {session.mounts} states mounted, "
            f"{session.checker.checks} checks, {time.monotonic() - begun:.0f} s, seed {arguments.seed}"
        )
    print("\n| step | left out | " + " | ".join(arguments.fs) + " |\n| --- | --- |" + " --- |" * len(arguments.fs))
    for (step, call, what), found in rows.items():
        print(f"| {step} | `{call}` of {what} | " + " | ".join(found.get(kind, "no such") for kind in arguments.fs) + " |")
    return 0


def summary(losses):
    kinds = dict.fromkeys(line.kind for loss in losses for line in loss.what)
    return ", ".join(kinds) if kinds else "nothing"


def target(session, step, wanted=None):
    """The syncs of a step: all, or those of the names that are `wanted`."""
    if wanted == []:
        return []
    base = session.before(step)
    image = session.place / "live.img"
    disk.copy_sparse(base, image)
    with disk.mounted(session.kind, image, session.at):
        syncs = traced(session, step, [f"-etrace=execve,{CALLS}"], is_main=False)
    if wanted is None:
        return syncs
    missing = set(wanted) - {sync.what for sync in syncs}
    assert not missing, f"{step.name!r} has no sync of {missing}"
    return [sync for sync in syncs if sync.what in wanted]


def leave_out(session, step, sync, samples, seed, is_first_enough=False):
    # Without -f, strace does not see the other threads; with it, it counts the calls of each by itself.
    follow = [] if sync.is_main else ["-f"]
    trace = session.place / "trace"
    tools = ["strace", *follow, "-y", "-o", str(trace), f"-etrace={sync.call}"]
    tools += [f"-einject={sync.call}:retval=0:when={sync.number}"]
    first = step.after.records["a"]
    # What comes after it reaches the disk, and with it what was written and not synced; first without any shard.
    pinned = step.after.change("a", pins=first.pins | {"later"})
    later = [
        Step("set a limit", ["config", "set", "min_free", "1"], step.after, ()),
        Step("pin", ["pin", "a", "--as", "later"], pinned, ("a",)),
    ]
    before = session.steps[session.steps.index(step) - 1].after if step != session.steps[0] else Expected()
    losses = []
    for loss in session.replay(session.before(step), before, [step, *later], samples, seed, tools):
        losses.append(loss)
        if is_first_enough:
            break
    injected = [line for line in trace.read_text().splitlines() if "(INJECTED)" in line]
    assert len(injected) == 1, f"{len(injected)} calls were left out, not one: {injected}"
    return losses


def traced(session, step, words, is_main):
    """Does the step under strace, and names its syncs in their order."""
    trace = session.place / "trace"
    session.do(step, ["strace", "-f", "-y", "-o", str(trace), *words])
    syncs, counts, main = [], collections.Counter(), None
    whats = collections.Counter()
    for line in trace.read_text().splitlines():
        thread, call = line.split(maxsplit=1)
        main = main or thread
        match = re.match(r"(\w+)\(\d+<(.*?)>", call)
        if not match or match[1] not in CALLS:
            continue
        counts[thread, match[1]] += 1
        what = name(match[1], match[2], str(session.root), str(session.place))
        whats[what] += 1
        syncs.append(Sync(match[1], what, counts[thread, match[1]], thread == main))
    seen = collections.Counter()
    for position, sync in enumerate(syncs):
        seen[sync.what] += 1
        if whats[sync.what] > 1:
            syncs[position] = dataclasses.replace(sync, what=f"{sync.what}, {seen[sync.what]}")
    for sync in syncs:
        twin = (sync.call, sync.number)
        is_alone = sync.is_main or twin not in [(other.call, other.number) for other in syncs if other.is_main]
        assert is_alone, f"{step.name!r}: {sync} cannot be left out alone: the main thread has one of this number too"
    return syncs


def name(call, path, root, place):
    """What a path is, without what differs from run to run."""
    if call == "syncfs":
        return "the file system"
    path = path.removeprefix(root).strip("/")
    if path == "":
        return "the root"
    if path.startswith(place.strip("/")):
        return "a folder above the root"
    if path.startswith("ingest/"):
        return "a private file"
    if re.fullmatch(r"index/\.\w+\.tmp", path):
        return "a new shard"
    if re.fullmatch(r"\.\w+\.tmp", path):
        return "a new store.json"
    path = re.sub(r"^(views/)[^/]+", r"\1<slug>", path)
    path = re.sub(r"/[0-9a-f]{12}(?=/|$)", "/<12 hex>", path)
    return re.sub(r"/[0-9a-f]{2}$", "/<xx>", path) + "/"
