"""One state: a command on a prepared root, with one fault, and what must hold afterwards."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from lib import strace
from lib.command import binary, catalog, knows
from lib.store import Damaged, Store

# The errors that each call may return. (Only those that it can really return: fchmod is not interrupted.)
FAULTS = {
    "open": ["EIO", "EINTR", "EMFILE"],
    "openat": ["EIO", "ENOSPC", "EINTR", "EMFILE"],
    "openat2": ["EIO", "EINTR", "EMFILE"],
    "read": ["EIO", "EINTR"],
    "getdents64": ["EIO"],
    "write": ["EIO", "ENOSPC", "EINTR"],
    "pwrite64": ["EIO", "ENOSPC", "EINTR"],
    "copy_file_range": ["EIO", "ENOSPC", "EINTR"],
    "sendfile": ["EIO", "ENOSPC", "EINTR"],
    "ioctl": ["EIO", "ENOSPC", "EINTR"],
    "fsync": ["EIO", "ENOSPC", "EINTR"],
    "syncfs": ["EIO", "ENOSPC", "EINTR"],
    "linkat": ["EIO", "ENOSPC", "EINTR"],
    "renameat": ["EIO", "ENOSPC", "EINTR"],
    "renameat2": ["EIO", "ENOSPC", "EINTR"],
    "unlinkat": ["EIO", "ENOSPC", "EINTR"],
    "mkdirat": ["EIO", "ENOSPC", "EINTR"],
    "fchmod": ["EIO", "ENOSPC"],
    "flock": ["EINTR", "ENOLCK"],
    "fallocate": ["EIO", "ENOSPC", "EINTR"],
    "ftruncate": ["EIO", "ENOSPC", "EINTR"],
    "madvise": ["EIO"],
    "socket": ["EMFILE"],
    "connect": ["ECONNREFUSED", "EINTR"],
    "sendto": ["ECONNRESET", "EINTR"],
    "recvfrom": ["ECONNRESET", "EINTR"],
}
# These only fail on sockets to a server; a thread that waits for signals uses a socket too.
OF_SERVERS = {"socket", "connect", "sendto", "recvfrom"}

# A kill on a call that only reads finds nothing new.
ONLY_LOOKS = {"read", "getdents64", "madvise", "ioctl"}

# After these failures, a command must not report success: it does not know that its work will last. (After ENOSPC, it
# may have made room and written a new file.)
IS_A_PROMISE = {("fsync", "EIO"), ("syncfs", "EIO"), ("syncfs", "ENOSPC")}

# A failing command cleans up with these calls, on a best-effort basis.
CLEANS_UP = {"unlinkat", "openat2", "openat", "flock", "getdents64"}


def kinds(call, command):
    if call == "madvise" and command.damaged:
        return []  # the kernel reports lost bytes with this, and a command that looks for damage has found some
    if call in OF_SERVERS and not command.fetches():
        return []
    return ([] if call in ONLY_LOOKS else ["KILL"]) + FAULTS[call]


@dataclass(frozen=True)
class State:
    command: int  # index into COMMANDS
    call: str
    fault: str
    number: int

    def inject(self):
        what = "signal=KILL" if self.fault == "KILL" else f"error={self.fault}"
        return f"{self.call}:{what}:when={self.number}"


@dataclass
class Outcome:
    ended: str  # "killed", "succeeded", "failed" or "missed"
    problems: list
    how: str


class Trial:
    """Runs states of one command in a folder of its own. `after` is the result of a run without a fault."""

    def __init__(self, world, folder, command, after):
        self.world, self.folder, self.command, self.after = world, Path(folder), command, after
        self.root = self.folder / "root"
        before = {} if command.on_empty else Store(world.template).records()
        self.before = summary(before)
        self.hurt = ()
        if command.damaged:
            self.hurt = (command.damaged, before[command.damaged]["digest"].removeprefix("sha256:"))

    def words(self):
        return [*self.world.words(self.command, self.folder), "--json"]

    def run(self, state):
        self.world.state(self.folder, self.command)
        log = self.folder / "log"
        traced = strace.words(log, [state.call], [*self.command.given, state.inject()], self.command.one_thread)
        left = Store(self.root).unfinished() if self.root.exists() else set()
        ended = catalog(self.root, *self.words(), before=traced)
        line = strace.injected(log, state.call)
        outcome = "missed" if line is None else "killed" if state.fault == "KILL" else "failed"
        if line is not None and ended.code == self.command.code:
            outcome = "succeeded"
        try:
            problems = self.judge(state, outcome, ended, left)
        except (Damaged, OSError) as damage:
            problems = [str(damage)]
        how = f"{' '.join([*traced, binary(), *self.words()])}\n    at: {line}\n    stderr: {ended.err.strip()}"
        return Outcome(outcome, problems, how)

    def judge(self, state, outcome, ended, left):
        problems = [ended.crash()]
        if outcome == "failed":
            problems.append(ended.unclean())
            if state.call not in CLEANS_UP and self.root.exists():
                new = Store(self.root).unfinished() - left
                problems += [f"{name} was left by a command that could clean up" for name in new]
        # A command that changes no entry only notes a use, which may fail silently.
        if ended.code == 0 and self.before != self.after and (state.call, state.fault) in IS_A_PROMISE:
            problems.append(f"it says that it is done, though {state.call} failed")
        problems += self.judge_root(ended) if self.root.exists() else []
        problems += self.judge_source()
        problems += self.judge_next_run()
        return [problem for problem in problems if problem]

    def judge_root(self, ended):
        """Acknowledged entries are there; others are there wholly or not at all."""
        # Nothing is known about a blob that was damaged beforehand, unless it was repaired.
        store = Store(self.root, self.hurt)
        problems = store.problems()
        if self.hurt and ended.code == 0:
            problems += self.is_repaired()
        if problems:
            return problems
        now = summary(store.records())
        for id in sorted({*self.before, *self.after, *now}):
            allowed = {self.before.get(id), self.after.get(id)}
            # A collection that could not lock or open an entry's blob leaves the entry for the next one, and says so.
            if ended.code == self.command.code and self.command.args[0] != "gc":
                allowed = {self.after.get(id)}
            if now.get(id) not in allowed:
                problems.append(f"{id} is {now.get(id)}, which is none of {allowed}")
        if self.command.args[0] == "stage":
            for object in ended.objects():
                if object["digest"] != (now.get(object["id"]) or [None])[0]:
                    problems.append(f"{object['id']} was acknowledged and is not there")
        if (self.root / "store.json").exists():
            problems += self.judge_by_command(now)
        return problems

    def judge_by_command(self, now):
        """The command itself can read what is there."""
        listed = catalog(self.root, "list", "--json")
        if listed.code != 0:
            return [f"list: {listed}"]
        if {entry["id"]: entry["digest"] for entry in listed.objects()} != {id: now[id][0] for id in now}:
            return [f"list says other than the index: {listed.out}"]
        changed = next((id for id in now if self.before.get(id) != self.after.get(id)), None)
        if changed:
            shown = catalog(self.root, "show", changed, "--json")
            if shown.code != 0 or not Path(shown.objects()[0]["local_path"]).exists():
                return [f"show {changed}: {shown}"]
        if has_verb("verify") and not self.hurt:
            verified = catalog(self.root, "verify", "--all")
            if verified.code != 0:
                return [f"verify: {verified}"]
        return []

    def is_repaired(self):
        store = Store(self.root)
        problem = store.problem_of(self.command.damaged, store.records()[self.command.damaged])
        return [f"it was not repaired: {problem}"] if problem else []

    def judge_source(self):
        """The source of a move is where it was, or in the store."""
        moved = self.folder / "own/moved"
        if "move" not in self.command.args:
            return []
        if not moved.exists():
            is_there = self.root.exists() and "new" in Store(self.root).records()
            return [] if is_there else ["the moved file is neither where it was nor in the store"]
        same = moved.read_bytes() == (self.world.src / "moved").read_bytes()
        return [] if same else ["the moved file is not what it was"]

    def judge_next_run(self):
        """Locks are free, the work can be done, and a collection leaves nothing behind."""
        again = catalog(self.root, *self.words())
        if again.code not in self.command.again:
            return [f"the next run: {again}"]
        store = Store(self.root)
        now = summary(store.records())
        for id in {*self.before, *now, *self.after}:
            allowed = {self.after.get(id)}
            if "--max-bytes" in self.command.args:
                allowed.add(self.before.get(id))  # by now there may be enough room without evicting it
            if now.get(id) not in allowed:
                return [f"after the next run, {id} is {now.get(id)}, not one of {allowed}"]
        if self.hurt:
            repaired = catalog(self.root, "repair", self.command.damaged)
            problems = self.is_repaired() if repaired.code == 0 else [f"repair: {repaired}"]
            if problems:
                return problems
        collected = catalog(self.root, "gc", "--grace", "0")
        if collected.code != 0:
            return [f"gc: {collected}"]
        store = Store(self.root, self.hurt)
        problems = store.problems() + store.debris()
        if not problems and summary(store.records()) != now:
            problems = ["a collection has changed the entries"]
        if not problems and has_verb("doctor"):
            found = catalog(self.root, "doctor")
            # Notes are no faults: they describe a file system without hardlinks, or files kept in quarantine.
            if found.code != 0 or any(line.startswith(("error ", "warning ")) for line in found.out.splitlines()):
                problems = [f"doctor: {found}"]
        return problems


def summary(records):
    return {id: (record["digest"], record["lifecycle"]) for id, record in records.items()}


@functools.cache
def has_verb(verb):
    return knows(os.devnull, verb)
