"""Waiting for something to become true, with a deadline; never for time to pass.

The sanitizers make programs several times slower, so every deadline is stretched by SLOWNESS there."""

import os
import time

SANITIZED = bool(os.environ.get("BECKON_SANITIZE"))
LONG = bool(os.environ.get("BECKON_E2E_LONG"))
SLOWNESS = 4 if SANITIZED else 1
PATIENCE_S = 60  # of what does come soon: only a test that fails waits so long


class NotYet(AssertionError):
    """The deadline passed and it still was not so."""


def wait_until(condition, what, timeout_s=PATIENCE_S, every_s=0.02):
    """Polls condition() until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout_s * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise NotYet(f"waited {timeout_s * SLOWNESS:.0f} s in vain for: {what() if callable(what) else what}")
        time.sleep(every_s)


def stays(condition, what, for_s):
    """The opposite: condition() must be true now and go on being true."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert condition(), f"did not last for {for_s} s: {what}"
        time.sleep(0.05)
