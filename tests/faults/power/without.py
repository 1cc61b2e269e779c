"""The same with one sync left out, each in turn: what this suite would miss if the product forgot it."""

import collections
import time

# Without these, a loss must be found on ext4 and xfs: this shows that the suite can fail there.
PROOFS = {
    "stage a file": ["a private file", "a new shard", "index/"],
    "stage a batch": ["the file system, 2", "index/"],
    "set the quota": ["a new file of the root", "the root"],
}

# Syncs that even the strict file system does not need.
EXCUSES = {
    ("use", "index/"): "that a use was noted is promised to nobody",
    ("use one of the batch", "index/"): "that a use was noted is promised to nobody",
    ("use it", "index/"): "that a use was noted is promised to nobody",
    ("verify", "index/"): "when a model was verified is not looked at",
    ("make the root", "a new file of the root, 1"): "only backup tools read CACHEDIR.TAG",
    ("make the root", "outboards/"): "the folder is made again when it is needed",
    ("stage what is in the trash", "a private file"): "the blob in the trash is used, and the private file dropped",
}


def prove(session, seed):
    """Leaves out the syncs that must be missed. Yields each that was not."""
    for step in session.steps:
        if session.kind != "strict" and step.name not in PROOFS:
            continue
        for sync in session.syncs(step):
            is_proof = sync.what in PROOFS.get(step.name, []) if session.kind != "strict" else not excuse(step, sync)
            if is_proof:
                yield step, sync, first_loss(session, step, sync, seed)


def first_loss(session, step, sync, seed):
    # In the strict model, most losses show without any sample.
    for samples in (0, 10) if session.kind == "strict" else (2,):
        for loss in session.leave_out(step, sync, samples, seed):
            return loss
    return None


def excuse(step, sync):
    return sync.excuse or EXCUSES.get((step.name, sync.what), "")


def table(sessions, wanted, samples, seed):
    """All syncs of the steps whose names contain `wanted`, and what is lost without each."""
    rows, kinds = collections.defaultdict(dict), []
    for session in sessions:
        begun, tried, found = time.monotonic(), 0, 0
        kinds.append(session.kind)
        for step in (step for step in session.steps if wanted in step.name):
            for sync in session.syncs(step):
                cell = "not tried"
                if sync.is_alone:
                    losses = list(session.leave_out(step, sync, samples, seed))
                    tried, found = tried + 1, found + bool(losses)
                    cell = ", ".join(dict.fromkeys(line.kind for loss in losses for line in loss.what))
                    cell = cell or f"nothing: {excuse(step, sync)}".removesuffix(": ")
                    print(f"{session.kind}: {step.name}: without {sync.call} of {sync.what}: {cell}", flush=True)
                    for line in losses[0].what[:2] if losses else []:
                        print(f"    {losses[0].state}: {line.text}")
                rows[step.name, sync.call, sync.what][session.kind] = cell
        print(
            f"{session.kind}: {tried} syncs left out, {found} of them seen, {session.states} states, "
            f"{session.checker.checks} checks, {time.monotonic() - begun:.0f} s, seed {seed}",
            flush=True,
        )
    print("\n| step | left out | " + " | ".join(kinds) + " |\n| --- | --- |" + " --- |" * len(kinds))
    for (step, call, what), cells in rows.items():
        print(f"| {step} | `{call}` of {what} | " + " | ".join(cells.get(kind, "") for kind in kinds) + " |")
