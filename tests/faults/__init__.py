"""Faults, injected for real into real searches. ``python -m tests.faults --help``."""
