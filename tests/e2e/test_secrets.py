"""Secrets come from files, and stay there: not in arguments, not in the environment, not in any log, however talkative, and not in a
core dump."""

import os
import re
import signal
from pathlib import Path

import pytest

from harness.process import is_running
from harness.waiting import SANITIZED, wait_until


@pytest.fixture(scope="module")
def shared(shared_house):
    return shared_house.start(agent={"receiver": {"rate": "500K"}})


def secrets_of(house):
    """The bearer token, and every line of every private key."""
    found = {house.token}
    for path in [*house.pki.folder.rglob("*.key")]:
        found.update(line for line in path.read_text().splitlines() if not line.startswith("-----"))
    assert len(found) > 10
    return found


def texts_of(pid):
    for name in ("cmdline", "environ"):
        yield f"{pid}/{name}", Path(f"/proc/{pid}/{name}").read_bytes().decode("latin-1")


def test_no_argument_environment_or_log_holds_one(shared, folder):
    agent = shared.agents["restaurant_1"]
    path = agent.file("x", os.urandom(1000000))
    cli = shared.cli_start("get", "restaurant_1", str(path), "-o", str(folder / "out"), "--rate", "500K")
    worker = wait_until(agent.workers, "the worker")[0]
    texts = [text for pid in (worker, cli.pid, *(daemon.pid for daemon in shared.daemons)) for text in texts_of(pid)]
    assert cli.wait(60) == 0 and (folder / "out").stat().st_size == 1000000
    with shared.https().connect() as stream:  # a wrong one is a secret too: somebody's typing mistake
        stream.sendall(b"PUT /v1/uploads/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mistyped-secret\r\nContent-Length: 0\r\n\r\n")
        stream.recv(1000)
    shared.api().request("GET", "/clients", headers={"Authorization": "Bearer mistyped-secret"})
    texts += [(daemon.name, daemon.log()) for daemon in shared.daemons]
    secrets = secrets_of(shared) | {"mistyped-secret"}
    assert [(name, secret) for name, text in texts for secret in secrets if secret in text] == []
    tokens = re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{60,}")
    assert [name for name, text in texts if tokens.search(text)] == []


@pytest.mark.skipif(SANITIZED, reason="a sanitizer takes the signal")
def test_no_process_leaves_a_core(shared, folder):
    agent = shared.agents["restaurant_1"]
    request = shared.ask("restaurant_1", agent.file("y", os.urandom(2000000)))
    worker = wait_until(agent.workers, "the worker")[0]
    for pid in (worker, agent.pid, shared.receiver.pid, shared.coordinator.pid):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0", limits), limits
    os.kill(worker, signal.SIGSEGV)
    wait_until(lambda: not is_running(worker), "the worker to end")
    assert not [path for path in (shared.folder, agent.state, Path("/tmp")) if list(path.glob("core*"))]
    shared.wait_status(request, "completed")


def test_programs_take_no_secret_as_an_option(shared):
    for words in (["--token", "x", "clients"], ["clients", "--token", "x"], ["--password", "x", "clients"]):
        assert shared.cli(*words).returncode == 2
    text = shared.cli("--help").stdout
    assert "--token-file" in text and not re.search(r"--token[ =]", text)
