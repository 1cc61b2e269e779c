"""Runs the release binary."""

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

# A command that waits this long for a lock waits for one that is never released. It gives up by itself after 30 s.
TIME_LIMIT_S = 20

REPOSITORY = Path(__file__).resolve().parents[3]


def binary():
    """The binary named by `tests/faults/run`; by hand, the one that cargo builds by default."""
    return os.environ.get("CATALOG_BINARY") or str(REPOSITORY / "target/release/catalog")


@dataclass
class Ended:
    """How a process ended. The code is negative for a signal, and None if the process did not end in time."""

    code: int | None
    out: str
    err: str

    def crash(self):
        """Why the command must never end like this, whatever was done to it; None if it may."""
        if self.code is None:
            return f"it did not end within {TIME_LIMIT_S} s"
        if self.code == 101 or "panicked" in self.err:
            return f"it panicked: {self.err.strip()}"
        # strace reports a signal as 128 plus its number.
        number = -self.code if self.code < 0 else self.code - 128
        if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
            return f"it crashed with signal {number}: {self.err.strip()}"
        return None

    def objects(self):
        """The objects printed with --json. A line that a kill has cut off was not acknowledged."""
        objects = []
        for line in self.out.splitlines():
            try:
                objects.append(json.loads(line))
            except ValueError:
                pass
        return objects

    def unclean(self):
        """Why this is no clean failure, which is one line that says what went wrong, and an exit code of the
        contract."""
        notes = ("note: ", '{"type":"note",')
        errors = [line for line in self.err.splitlines() if not line.startswith(notes)]
        if self.code not in (1, 3, 4, 5, 7, 9) or not errors:
            return f"exit code {self.code}, stderr {self.err.strip()!r}"
        if any(not line.startswith(("error: ", '{"type":"error",')) for line in errors):
            return f"not lines of errors: {self.err.strip()!r}"
        return None


def environment(root, home):
    clean = {key: value for key, value in os.environ.items() if not re.match("CATALOG_|XDG_|RUST", key)}
    return clean | {"CATALOG_ROOT": str(root), "HOME": str(home), "LC_ALL": "C"}


def start(words, root, **options):
    """A process in its own process group, so that a tracer and its child can be ended together."""
    root = Path(root)
    return subprocess.Popen(
        [str(word) for word in words], cwd="/", env=environment(root, root.parent / "home"), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options)


def finish(process, time_limit_s=TIME_LIMIT_S):
    try:
        out, err = process.communicate(timeout=time_limit_s)
        return Ended(process.returncode, out, err)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return Ended(None, out, err)


def catalog(root, *args, before=(), time_limit_s=TIME_LIMIT_S):
    """Runs one verb; `before` goes in front of the command, such as strace and its options."""
    return finish(start([*before, binary(), *args], root), time_limit_s)


def knows(root, verb):
    """Whether this version of the command has a verb."""
    return catalog(root, "help", verb).code == 0
