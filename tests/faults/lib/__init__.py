"""What the fault suites share. It only uses the standard library, so any Python 3 will do."""
