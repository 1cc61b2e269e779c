"""How a suite tells what it found: lines for people, and one last line that `run` adds up."""

import os
import signal
import sys

# Ended by `kill` or by CI's time limit, a suite still removes what it has made and mounted.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


class Report:
    """Counts checks. A check that cannot be made here is skipped, with the reason."""

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
        """Passes when there are no problems."""
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

    def finish(self):
        say(f"{self.suite}: {self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        sys.exit(1 if self.failed else 0)


def say(text):
    print(text, flush=True)
