"""A device whose certificate is revoked is out, with what it has open, within the time that docs/operations.md states: 10 seconds
after the receiver's list has changed, and at once after `pki evict` at the broker. Others notice nothing."""

import os
import signal
import subprocess
import time

import pytest

from conftest import opened
from harness.house import House, command_payload
from harness.https import read_answer, send_chunk
from harness.observer import Observer
from harness.pki import Pki
from harness.waiting import SLOWNESS, stays, wait_until

OUT_WITHIN_S = 10
# MQTT 3.1.1 CONNECT of client id "gone", and the CONNACK that accepts it.
CONNECT = bytes.fromhex("10100004") + b"MQTT" + bytes.fromhex("0402003c0004") + b"gone"
CONNACK = bytes.fromhex("20020000")


@pytest.fixture
def house(folder):
    """With an authority of its own, and copies of a device's certificate that outlive its revocation."""
    with opened(House(folder, Pki.make(folder / "own-pki"))) as one:
        one.kept = [folder / "kept.crt", folder / "kept.key"]
        for copy, original in zip(one.kept, one.pki.client("gone")):
            copy.write_bytes(original.read_bytes())
        yield one


def ends_within(condition, what, since):
    wait_until(condition, what, 2 * OUT_WITHIN_S)
    assert time.monotonic() - since < OUT_WITHIN_S * SLOWNESS, f"{what}: too late"


def is_ended(stream):
    stream.settimeout(0.05)
    try:
        return stream.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_receiver_cuts_every_connection_of_a_revoked_client_and_no_other(house):
    house.start_broker()
    house.start_receiver()
    bad, good = house.https(house.kept), house.https(house.pki.client("stays"))
    uploading, other = bad.begin_put("/v1/uploads/x"), good.begin_put("/v1/uploads/x")
    for stream in (uploading, other):
        send_chunk(stream, b"a" * 100000)
    house.wait_bytes("x")
    idle = bad.connect()
    idle.sendall(b"HEAD /v1/uploads/none HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_answer(idle, "HEAD").status == 404

    house.pki.run("revoke", "client/gone")
    since = time.monotonic()
    ends_within(lambda: is_ended(uploading), "the running upload to be cut", since)
    ends_within(lambda: is_ended(idle), "the idle connection to be cut", since)
    assert bad.request("PUT", "/v1/uploads/y", b"data").status == 403
    assert house.receiver.log_lines("certificate of gone is revoked")
    other.sendall(b"0\r\n\r\n")
    assert read_answer(other, "PUT").status == 201
    assert house.stored("gone", "x") is None and house.stored("stays", "x").read_bytes() == b"a" * 100000


def test_each_request_on_an_old_connection_is_judged_by_the_list_of_now(house):
    house.start_broker()
    house.start_receiver()
    stream = house.https(house.kept).connect()
    ask = b"HEAD /v1/uploads/none HTTP/1.1\r\nHost: x\r\n\r\n"
    stream.sendall(ask)
    assert read_answer(stream, "HEAD").status == 404
    house.pki.run("revoke", "client/gone")
    try:  # the next look at the list may cut it before this one is answered
        stream.sendall(ask)
        assert read_answer(stream, "HEAD").status == 403
    except (OSError, EOFError, ConnectionError):
        assert is_ended(stream)


def connects(house, version, *session):
    """Whether `openssl s_client` with the kept certificate gets its CONNACK; TLS sessions may be kept and shown again."""
    client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{house.devices_port}", "-CAfile", house.pki.ca, "-cert", house.kept[0],
                               "-key", house.kept[1], "-ign_eof", version, *session], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = b""
    try:
        client.stdin.write(CONNECT)
        client.stdin.flush()
        while CONNACK not in output:
            more = os.read(client.stdout.fileno(), 65536)
            output += more
            if not more:
                return False, output
        return True, output
    finally:
        client.kill()
        client.communicate()


def test_broker_ends_an_evicted_device_and_lets_it_not_come_back(house):
    house.start_broker()
    sessions = {version: house.folder / f"session{version}" for version in ("-tls1_2", "-tls1_3")}
    for version, session in sessions.items():
        wait_until(lambda version=version, session=session: connects(house, version, "-sess_out", session)[0] and session.exists(), "a session to be kept")
    device = Observer(house.devices_port, house.pki.ca, house.kept)
    other = Observer(house.devices_port, house.pki.ca, house.pki.client("stays"))
    house.closing(device), house.closing(other)
    house.pki.service("operator")
    house.pki.run("revoke", "client/gone")
    house.broker.process.send_signal(signal.SIGHUP)
    house.broker.wait_log("Reloading config")
    since = time.monotonic()
    house.pki.run("evict", "gone", "127.0.0.1", str(house.people_port))
    ends_within(lambda: device.disconnects, "the device's connection to end", since)
    accepted = len(house.broker.log_lines("as gone .*u'gone'"))
    stays(lambda: len(house.broker.log_lines("as gone .*u'gone'")) == accepted, "it does not come back", 2)
    for version, session in sessions.items():
        assert not connects(house, version)[0]
        assert not connects(house, version, "-sess_in", session)[0], "a kept TLS session still opens the door"
    assert not other.disconnects


def test_agent_of_an_evicted_device_is_offline_for_good(house):
    house.start(agents=("gone", "stays"))
    house.pki.service("operator")
    house.pki.run("revoke", "client/gone")
    house.broker.process.send_signal(signal.SIGHUP)
    house.broker.wait_log("Reloading config")
    since = time.monotonic()
    house.pki.run("evict", "gone", "127.0.0.1", str(house.people_port))
    ends_within(lambda: house.agents["gone"].log_lines("lost|ended"), "the agent to lose its connection", since)
    house.wait_online("gone", False)
    operator = house.observer()
    operator.publish("beckon/v1/gone/cmd/upload/late", command_payload(house.agents["gone"].file("x", b"x")))
    operator.publish("beckon/v1/stays/cmd/upload/now", command_payload(house.agents["stays"].file("x", b"x")))
    operator.wait_for("beckon/v1/stays/receipt/now")
    assert house.stored("gone", "late") is None
    assert len(house.agents["gone"].log_lines("connected to the broker")) == 1
