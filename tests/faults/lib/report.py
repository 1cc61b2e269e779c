"""How a suite reports its results: lines for people, and a last line that `run` adds up."""

import contextlib
import os
import signal
import sys

from lib import mounts
from lib.store import Damaged

# A suite that is ended by `kill` or by CI's time limit still removes what it has made and mounted.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


class Report:
    """Counts checks. A check that is not possible here is skipped, with the reason."""

    def __init__(self, suite):
        self.suite = suite
        self.passed = self.failed = self.skipped = 0

    def ok(self, text):
        self.passed += 1
        say(f"ok: {text}")

    def fail(self, text, details=()):
        self.failed += 1
        say(f"FAILED: {text}")
        for line in details:
            say(f"    {line}")

    def check(self, text, problems):
        """Passes if there are no problems."""
        if problems:
            self.fail(text, problems)
        else:
            self.ok(text)

    def skip(self, why):
        """Where everything that the tests need is installed, a skip is a failure."""
        self.skipped += 1
        say(f"skipped: {why}")
        if "CATALOG_TEST_NO_SKIP" in os.environ:
            self.fail("skipped, and CATALOG_TEST_NO_SKIP is set")

    def need(self, why_not):
        """Ends the suite if something is missing that all of it needs."""
        if why_not:
            self.skip(why_not)
            self.finish()

    @contextlib.contextmanager
    def ground(self, name):
        """Surrounds the checks on one file system, which may be unavailable, or turn out damaged."""
        try:
            yield
        except mounts.Unavailable as why:
            self.skip(f"{name}: {why}")
        except (Damaged, OSError) as damage:
            self.fail(name, [str(damage)])

    def finish(self):
        say(f"{self.suite}: {self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        sys.exit(1 if self.failed else 0)


def say(text):
    print(text, flush=True)
