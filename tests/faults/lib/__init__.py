"""What the fault suites share. Only the standard library, so that a Python 3 is all they need."""
