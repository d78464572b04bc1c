"""The sandboxes of worker and daemons, seen from outside, and what happens where the kernel has none."""

import json
import os
import socket
import subprocess

import pytest

from harness.house import BIN, command_payload, merge, write_config
from harness.process import environment
from harness.waiting import SLOWNESS, wait_until

BROKEN_INTO = BIN.parent / "tests" / "beckon-upload-broken-into"
NO_LANDLOCK = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=landlock_create_ruleset:error=EOPNOTSUPP"]
DAEMONS = ("agent", "receiver", "coordinator")

pytestmark = pytest.mark.skipif(bool(os.environ.get("BECKON_SANITIZE")), reason="sanitizers need what a sandbox forbids")


def has_landlock():
    import ctypes
    return ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1) >= 2


needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")


def confinement(pid):
    """(no new privileges, seccomp filters) of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return int(fields["NoNewPrivs"]), int(fields["Seccomp_filters"])


@needs_landlock
def test_broken_into_worker_gets_nowhere(house):
    """A worker in strange hands, in the middle of a real upload; it can say so, and that is all."""
    assert BROKEN_INTO.exists()
    prey = house.folder / "prey"
    prey.mkdir()
    for name in ("key", "secret", "victim"):
        (prey / name).write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        house.launch["agent"] = ([], {"BECKON_PREY": str(prey), "BECKON_PREY_PORT": str(elsewhere.getsockname()[1])})
        house.start(agent={"agent": {"worker": BROKEN_INTO}})
        operator = house.observer()
        path = house.agents["restaurant_1"].file("x", b"x" * 100000)
        operator.publish("beckon/v1/restaurant_1/cmd/upload/broken", command_payload(path))
        status = operator.wait_for("beckon/v1/restaurant_1/status/broken", lambda message: message["state"] == "failed")
    assert status["error"]["reason"] == "BROKEN_INTO", status
    assert status["error"]["message"].endswith(" tries, 0 worked"), status
    assert sorted(file.name for file in prey.iterdir()) == ["key", "secret", "victim"]


@needs_landlock
def test_everything_that_strangers_reach_is_confined(house):
    house.start(agent={"receiver": {"rate": "10K"}})
    agent = house.agents["restaurant_1"]
    house.ask("restaurant_1", agent.file("slow", b"x" * 1000000))
    wait_until(lambda: any(confinement(pid) == (1, 2) for pid in agent.workers()), "a worker in both its filters")
    for daemon in (house.receiver, house.coordinator):
        assert confinement(daemon.pid) == (1, 1), daemon.name


@pytest.mark.parametrize("daemon", DAEMONS)
def test_without_landlock_is_one_warning_or_a_refusal(house, daemon):
    house.devices_port = house.people_port = house.receiver_port = house.coordinator_port = 1
    config = house.agent_config("restaurant_1", house.folder, house.folder / "state") if daemon == "agent" \
        else getattr(house, f"{daemon}_config")()
    for required in ("no", "yes"):
        path = write_config(house.folder / f"{daemon}.conf", merge(config, {daemon: {"require_sandbox": required}}))
        done = subprocess.run([*NO_LANDLOCK, BIN / f"beckon-{daemon}", "--config", path, "--check-config"],
                              env=environment(), capture_output=True, text=True, timeout=20 * SLOWNESS, check=False)
        lines = [line for line in done.stderr.splitlines() if "sandbox" in line]
        assert len(lines) == 1, done.stderr
        if required == "no":
            assert done.returncode == 0 and " warn " in lines[0] and "Landlock" in lines[0], done.stderr
        else:
            number = path.read_text().splitlines().index("require_sandbox=yes") + 1
            assert done.returncode == 1 and f"{path}:{number}:" in lines[0] and "Landlock" in lines[0], done.stderr


@pytest.mark.parametrize("required", [0, 1])
def test_worker_without_landlock_sends_only_if_it_may(house, required):
    """The agent would have refused to start; the worker does not rely on that."""
    house.start_broker()
    house.start_receiver()
    path = house.folder / "x"
    path.write_bytes(b"hello")
    cert, key = house.pki.client("restaurant_1")
    job = {"url": house.receiver_url, "id": "x1", "path": "/x", "ca": str(house.pki.ca), "cert": str(cert), "key": str(key),
           "size": 5, "attempt": 1, "resume": 1, "drop": 0, "require_sandbox": required, "rate": 0, "min_rate": 100,
           "stall_ms": 60000, "commit_timeout_ms": 60000}
    with open(path, "rb") as file:
        done = subprocess.run(["bash", "-c", f'exec "$@" 3<&{file.fileno()}', "bash", *NO_LANDLOCK, BIN / "beckon-upload"],
                              input=json.dumps(job), env=environment(), capture_output=True, text=True,
                              pass_fds=[file.fileno()], timeout=60 * SLOWNESS, check=False)
    last = json.loads(done.stdout.splitlines()[-1])
    if required:
        assert last["error"]["reason"] == "SANDBOX_UNAVAILABLE" and not last["retry"], last
        assert house.stored("restaurant_1", "x1") is None
    else:
        assert "sha256" in last, last
        assert house.stored("restaurant_1", "x1").read_bytes() == b"hello"
