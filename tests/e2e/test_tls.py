"""What TLS promises at each border: the version, the suites, the name of the host, and the key where one is pinned."""

import re
import subprocess

import pytest

from conftest import opened
from harness.house import House
from harness.pki import SCRIPT, Pki
from harness.waiting import stays

GOOD = "ECDHE-ECDSA-AES128-GCM-SHA256"
WEAK = ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM", "NULL"]
SERVERS = ["receiver", "coordinator", "devices", "people"]


@pytest.fixture(scope="module")
def shared(shared_house):
    return shared_house.start()


def handshake(house, server, *options):
    """What `openssl s_client` says of it."""
    port = {"receiver": house.receiver_port, "coordinator": house.coordinator_port, "devices": house.devices_port, "people": house.people_port}[server]
    identity = house.pki.service("operator") if server == "people" else house.pki.client("restaurant_1")
    result = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", house.pki.ca, "-cert", identity[0], "-key", identity[1], *options],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=60)
    match = re.search(r"Cipher is (\S+)", result.stdout)
    return match[1] if match and match[1] != "(NONE)" else None


@pytest.mark.parametrize("server", SERVERS)
def test_versions(shared, server):
    for old in ("-tls1", "-tls1_1"):
        assert handshake(shared, server, old, "-cipher", "ALL:@SECLEVEL=0") is None, old
    assert handshake(shared, server, "-tls1_2") and handshake(shared, server, "-tls1_3")


@pytest.mark.parametrize("server", SERVERS)
def test_suites(shared, server):
    assert handshake(shared, server, "-tls1_2", "-cipher", GOOD) == GOOD
    for weak in WEAK:
        assert handshake(shared, server, "-tls1_2", "-cipher", weak + ":@SECLEVEL=0") is None, weak


# right authority, wrong name


@pytest.fixture
def misnamed(folder):
    """A house whose servers' certificates may be made for other names than 127.0.0.1."""
    with opened(House(folder, Pki.make(folder / "own-pki"))) as one:
        yield one


def test_agent_and_services_do_not_trust_a_broker_of_another_name(misnamed):
    misnamed.pki.run("server", "localhost")  # and not 127.0.0.1
    misnamed.start_broker()
    misnamed.start_receiver()
    misnamed.start_coordinator()
    agent = misnamed.start_agent(wait=False)
    for daemon in (agent, misnamed.receiver, misnamed.coordinator):
        daemon.wait_log(r"(?i)can't connect.*(tls|certificate|host)")
    stays(lambda: not any(daemon.log_lines("connected to the broker") for daemon in (agent, misnamed.receiver, misnamed.coordinator)), "not connected", 1)


def test_worker_sends_nothing_to_a_receiver_of_another_name(misnamed):
    misnamed.pki.run("server", "receiver.test")
    misnamed.start()
    agent = misnamed.agents["restaurant_1"]
    request = misnamed.ask("restaurant_1", agent.file("x", b"secret"))
    agent.wait_log(r"(?i)attempt 1 failed.*(name|certificate)")
    assert misnamed.request_row(request)["status"] in ("accepted", "running", "queued")
    assert misnamed.stored_files() == [] and not list((misnamed.store / ".incoming").glob("*.part"))


def test_command_line_does_not_show_its_token_to_a_coordinator_of_another_name(misnamed):
    misnamed.pki.run("server", "coordinator.test")
    misnamed.start_broker()
    misnamed.start_coordinator()
    result = misnamed.cli("clients")
    assert result.returncode != 0 and re.search("(?i)certificate|name", result.stderr), result
    assert not misnamed.coordinator.log_lines("GET /clients")


# the pin


def pin(house, name):
    house.pki.server(name)
    return subprocess.run([SCRIPT, "--dir", house.pki.folder, "pin", name], capture_output=True, text=True, check=True).stdout.strip()


def test_pinned_key_is_taken_and_may_be_announced_beside_the_next_one(shared):
    pins = f"{pin(shared, 'next.test')};{pin(shared, 'receiver.test')}"
    agent = shared.start_agent("pinned", {"receiver": {"pin": pins}})
    shared.wait_status(shared.ask("pinned", agent.file("x", b"data")), "completed")


def test_nothing_is_sent_to_another_key_of_the_same_authority(shared):
    agent = shared.start_agent("wrongly-pinned", {"receiver": {"pin": pin(shared, "next.test")}})
    request = shared.ask("wrongly-pinned", agent.file("x", b"data"))
    agent.wait_log(r"(?i)attempt 1 failed.*(pin|key)")
    assert shared.request_row(request)["status"] in ("accepted", "running")
    assert shared.stored("wrongly-pinned", request) is None and not shared.parts(request)
