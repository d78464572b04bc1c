"""Told to stop while they start: daemons end as at any other time."""

import os
import signal

import pytest

from harness.waiting import SLOWNESS, wait_until


def open_for_writing(pipe):
    """None while nobody reads from it."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("role", ["agent", "receiver", "coordinator"])
def test_signal_while_it_starts(house, role, signum):
    """It reads its configuration from a pipe, and so is where the test wants it."""
    house.start()
    daemon = house.agents["restaurant_1"] if role == "agent" else getattr(house, role)
    daemon.stop()
    config = daemon.argv[-1]
    with open(config, "rb") as file:
        text = file.read()
    os.unlink(config)
    os.mkfifo(config, 0o600)
    daemon.start(wait=False)
    pipe = wait_until(lambda: open_for_writing(config), f"{daemon.name} to read its configuration")
    daemon.process.send_signal(signum)
    os.write(pipe, text)
    os.close(pipe)
    if signum == signal.SIGHUP:
        daemon.wait_log(daemon.ready)
        daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(20 * SLOWNESS) == 0, daemon.tail()
    daemon.process = None
