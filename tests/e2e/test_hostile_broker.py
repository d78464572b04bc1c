"""A broker in the wrong hands: it may write what it likes on any topic, and hold back or repeat what others write.

The agent obeys its coordinator's tickets only, the receiver too; so nothing leaves the device that the coordinator has
not asked for, nothing goes elsewhere, and nothing finished is undone."""

import hashlib
import hmac
import http.client
import json
import os
import socket
import threading
import time
from base64 import urlsafe_b64encode

import pytest

from harness.house import House, command_payload
from harness.https import tls_context
from harness.process import is_running
from harness.tokens import part, sign, ticket, unsigned, with_claims
from harness.waiting import SANITIZED, stays, wait_until

CLIENT = "kiosk_1"
BATCH = 200  # fewer than mosquitto queues for one client
REPLAYS = 1000 if SANITIZED else 10000
GROWTH_MAX_KB = 512


class HostileHouse(House):
    """mosquitto with a user that may read and write everything, and without its limits on sizes."""

    def _broker_config(self, extra):
        path = super()._broker_config(extra)
        lines = []
        for line in path.read_text().splitlines():
            if line.startswith("acl_file") and "people" in line:
                acl = self.folder / "hostile.acl"
                with open(line.split()[1], encoding="utf-8") as rules:
                    acl.write_text(f"{rules.read()}\nuser evil\ntopic readwrite #\n")
                line = f"acl_file {acl}"
            if not line.startswith(("message_size_limit", "max_packet_size")):
                lines.append(line)
        path.write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture
def house(folder, pki):
    from conftest import opened
    with opened(HostileHouse(folder, pki)) as one:
        one.start_broker()
        one.start_receiver({"receiver": {"require_ticket": "yes"}})
        one.start_agent(CLIENT, {"agent": {"coordinator_key": pki.token_public("coordinator")}})
        yield one


@pytest.fixture
def agent(house):
    return house.agents[CLIENT]


@pytest.fixture
def evil(house):
    return house.observer("evil", subscribe=("beckon/v1/+/status/+", "beckon/v1/+/receipt/+"))


def command_topic(upload, kind="upload", client=CLIENT):
    return f"beckon/v1/{client}/cmd/{kind}/{upload}"


def status_topic(upload):
    return f"beckon/v1/{CLIENT}/status/{upload}"


def resident_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))


def flood(evil, upload, payloads):
    """Publishes them in batches, and waits for an answer to each; returns the answers."""
    answers = len(evil.on(status_topic(upload)))
    for start in range(0, len(payloads), BATCH):
        batch = payloads[start:start + BATCH]
        for payload in batch:
            evil.publish_soon(command_topic(upload), payload)
        answers += len(batch)
        wanted = answers
        wait_until(lambda: len(evil.on(status_topic(upload))) >= wanted, f"{wanted} answers", 60)
    return evil.on(status_topic(upload))


def test_ticket_with_any_bit_flipped_is_refused_and_the_true_one_is_still_good(house, pki, agent, evil, upload):
    path = agent.file("wanted", b"wanted")
    true = ticket(pki, CLIENT, upload, path, max_size=100).encode()
    payloads = []
    for bit in range(len(true) * 8):
        flipped = bytearray(true)
        flipped[bit // 8] ^= 1 << bit % 8
        payloads.append(b'{"path":"%s","ticket":"%s"}' % (str(path).encode(), bytes(flipped)))
    before = resident_kb(agent.pid)
    answers = flood(evil, upload, payloads)
    assert [answer for answer in answers if answer["state"] != "rejected"] == []
    assert {answer["error"]["reason"] for answer in answers} <= {"TICKET_INVALID", "INVALID_COMMAND"}
    assert house.stored_files() == [] and list((agent.state / "jobs").iterdir()) == []
    if not SANITIZED:
        assert resident_kb(agent.pid) < before + GROWTH_MAX_KB
    evil.publish(command_topic(upload), {"path": str(path), "ticket": true.decode()})
    evil.wait_for(status_topic(upload), lambda m: m["state"] == "done")
    assert house.stored(CLIENT, upload).read_bytes() == b"wanted"


def test_receiver_refuses_a_ticket_with_any_bit_flipped(house, pki, upload):
    """As far as the flipped one can stand in a header; the others are tried with the token itself."""
    true = ticket(pki, CLIENT, upload, "/x")
    connection = http.client.HTTPSConnection("127.0.0.1", house.receiver_port,
                                             context=tls_context(pki.ca, pki.client(CLIENT)), timeout=60)

    def head(token):
        connection.request("HEAD", f"/v1/uploads/{upload}", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    tried = 0
    for bit in range(len(true) * 8):
        flipped = bytearray(true.encode())
        flipped[bit // 8] ^= 1 << bit % 8
        if 0x21 <= flipped[bit // 8] <= 0x7e:
            tried += 1
            assert head(flipped.decode()) == 403, flipped
    assert tried > len(true) * 4 and head(true) == 204
    connection.close()


def test_replays_over_restarts_start_nothing_and_cost_no_memory(house, pki, agent, evil, upload):
    path = agent.file("once", b"once")
    payload = json.dumps({"path": str(path), "ticket": ticket(pki, CLIENT, upload, path)})
    evil.publish(command_topic(upload), payload)
    evil.wait_for(status_topic(upload), lambda m: m["state"] == "done")
    path.write_bytes(b"twice")
    grown = 0
    for _ in range(5):
        flood(evil, upload, [payload] * BATCH)  # until all that is made once is made
        before = resident_kb(agent.pid)
        flood(evil, upload, [payload] * (REPLAYS // 5 - BATCH))
        grown = max(grown, resident_kb(agent.pid) - before)
        agent.kill()
        agent.start()
    answers = evil.on(status_topic(upload))
    first_done = next(i for i, answer in enumerate(answers) if answer["state"] == "done")
    assert len(answers) - first_done > REPLAYS
    assert {(a["state"], a["sha256"]) for a in answers[first_done:]} == {("done", hashlib.sha256(b"once").hexdigest())}
    assert house.stored(CLIENT, upload).read_bytes() == b"once"
    assert len(house.receiver.log_lines(f"{upload}.*complete:")) == 1
    print(f"{REPLAYS} replays over 5 restarts: grown by {grown} KB at most")
    assert SANITIZED or grown < GROWTH_MAX_KB


def forgeries(pki, client, upload, path):
    """name: ticket. Each is for exactly this command, but for what its name says."""
    now = int(time.time())
    claims = {"scope": "upload", "aud": client, "jti": upload, "path": str(path), "iat": now, "exp": now + 600}
    true = ticket(pki, client, upload, path)
    secret = pki.token_public("coordinator").read_bytes()
    head = f'{part({"alg": "HS256", "typ": "beckon-ticket+jwt"})}.{part(claims)}'
    mac = urlsafe_b64encode(hmac.new(secret, head.encode(), hashlib.sha256).digest()).decode().rstrip("=")
    return {
        "a stranger's key": sign(claims, pki.token_key("somebody"), "beckon-ticket+jwt"),
        "the receiver's key": sign(claims, pki.token_key("receiver"), "beckon-ticket+jwt"),
        "alg none": unsigned(claims, "beckon-ticket+jwt"),
        "HS256 with the public key": f"{head}.{mac}",
        "without its signature": true.rsplit(".", 1)[0] + ".",
        "other claims below the signature": with_claims(ticket(pki, client, upload, "/other"), path=str(path)),
        "a later expiry below the signature": with_claims(ticket(pki, client, upload, path, exp=now - 9), exp=now + 600),
        "expired": ticket(pki, client, upload, path, iat=now - 100, exp=now - 1),
        "not yet valid": ticket(pki, client, upload, path, nbf=now + 300),
        "another device's": ticket(pki, "kiosk_2", upload, path),
        "all devices'": ticket(pki, client, upload, path, aud=[client]),
        "another upload's": ticket(pki, client, upload + "x", path),
        "another path's": ticket(pki, client, upload, str(path) + "x"),
        "of another typ": ticket(pki, client, upload, path, typ="beckon-operator+jwt"),
        "for a download": ticket(pki, client, upload, path, scope="download"),
        "without a scope": ticket(pki, client, upload, path, scope=None),
        "without an audience": ticket(pki, client, upload, path, aud=None),
        "without an id": ticket(pki, client, upload, path, jti=None),
        "without a path": ticket(pki, client, upload, path, path=None),
        "without an expiry": ticket(pki, client, upload, path, exp=None),
        "without a time of issue": ticket(pki, client, upload, path, iat=None),
        "of any size": ticket(pki, client, upload, path, max_size=0),
        "too long": ticket(pki, client, upload, path, pad="x" * 6500),
        "empty": "",
        "not a token": "a.b.c",
    }


def test_forged_and_strange_tickets_are_refused_by_agent_and_receiver(house, pki, agent, evil, upload):
    path = agent.file("canary", b"canary")
    forged = forgeries(pki, CLIENT, upload, path)
    answers = flood(evil, upload, [command_payload(path, ticket=token) for token in forged.values()])
    for name, answer in zip(forged, answers, strict=True):
        assert answer["state"] == "rejected", (name, answer)
        assert answer["error"]["reason"] in ("TICKET_INVALID", "TICKET_EXPIRED", "INVALID_COMMAND"), (name, answer)
    device = house.https(pki.client(CLIENT))
    for name, token in forged.items():
        headers = {"Authorization": f"Bearer {token}", "Beckon-Path": str(path)}
        only_to_send = name in ("another path's", "expired")  # HEAD and DELETE send nothing, so that neither matters
        for method in ("PUT", "PATCH") if only_to_send else ("PUT", "PATCH", "HEAD", "DELETE"):
            refused = device.request(method, f"/v1/uploads/{upload}", b"" if method[0] == "P" else None,
                                     {**headers, "Content-Type": "application/partial-upload", "Upload-Offset": "0"})
            assert refused.status in (401, 403), (name, method, refused)
    assert device.request("PUT", f"/v1/uploads/{upload}", b"x").json()["reason"] == "TICKET_MISSING"
    evil.publish(command_topic(f"{upload}-plain"), command_payload(path))
    plain = evil.wait_for(status_topic(f"{upload}-plain"))
    assert (plain["state"], plain["error"]["reason"]) == ("rejected", "TICKET_MISSING")
    assert house.stored_files() == [] and house.parts(upload) == []


def command_variants(path, token):
    """Commands around a true ticket that say something else, or nothing at all."""
    good = json.dumps({"path": str(path), "ticket": token})[1:-1]
    return {
        "another path": json.dumps({"path": "/etc/passwd", "ticket": token}),
        "two paths": f'{{"path":"/etc/passwd",{good}}}',
        "two paths, the good one first": f'{{{good},"path":"/etc/passwd"}}',
        "two tickets": f'{{{good},"ticket":"a.b.c"}}',
        "no path": json.dumps({"ticket": token}),
        "a path of another type": f'{{"path":["{path}"],"ticket":"{token}"}}',
        "a larger size": f'{{{good},"max_size":1000000}}',
        "a rate": f'{{{good},"rate":1}}',
        "a later expiry": f'{{{good},"expires":4102444800}}',
        "an expiry that is no number": f'{{{good},"expires":"never"}}',
        "another receiver": f'{{{good},"receiver":"second"}}',
        "an address as receiver": f'{{{good},"receiver":"https://127.0.0.1:1"}}',
        "nested deeply": f'{{{good},"x":{"[" * 5000}{"]" * 5000}}}',
        "cut": f'{{{good}',
        "more behind it": f'{{{good}}}{{}}',
        "not UTF-8": b'{%s,"x":"\xff"}' % good.encode(),
        "a NUL": b'{%s,"x":"\0"}' % good.encode(),
        "a list": f'[{{{good}}}]',
        "a string": json.dumps(f'{{{good}}}'),
        "nothing": b"",
        "null": "null",
        "over 16 KiB": f'{{{good},"x":"{"y" * 16384}"}}',
    }


def test_malformed_and_altered_commands_are_refused_and_the_good_one_is_obeyed(house, pki, agent, evil, upload):
    path = agent.file("wanted", b"wanted")
    token = ticket(pki, CLIENT, upload, path)
    variants = command_variants(path, token)
    heard = [payload for name, payload in variants.items() if not name.startswith("over")]
    answers = flood(evil, upload, heard)
    assert [answer for answer in answers if answer["state"] != "rejected"] == []
    before = resident_kb(agent.pid)
    for size in (16384, 65536, 1 << 20, 8 << 20):
        evil.publish(command_topic(upload), f'{{"path":"{path}","ticket":"{token}","x":"{"y" * size}"}}')
        evil.publish(command_topic("x" * 65), b"y" * size)
    for topic in (command_topic("bad.id"), command_topic(upload, "receipt"), f"beckon/v1/{CLIENT}/cmd/upload",
                  f"beckon/v1/{CLIENT}/cmd/upload/a/b", command_topic(upload, "format"), f"beckon/v1/{CLIENT}/cmd/#"[:-2]):
        evil.publish(topic, command_payload(path, ticket=token))
    evil.publish(command_topic(upload, client="kiosk_2"), command_payload(path, ticket=token))
    assert house.stored_files() == [] and list((agent.state / "jobs").iterdir()) == []
    evil.publish(command_topic(upload), {"path": str(path), "ticket": token})
    evil.wait_for(status_topic(upload), lambda m: m["state"] == "done")
    assert house.stored(CLIENT, upload).read_bytes() == b"wanted"
    assert SANITIZED or resident_kb(agent.pid) < before + GROWTH_MAX_KB  # after packets of 8 MiB
    assert agent.alive() and len(agent.log_lines("connected to the broker")) == 1


@pytest.mark.skipif(SANITIZED, reason="sanitizers take no limit of memory")
def test_packet_larger_than_the_agents_memory_costs_a_connection_and_nothing_else(house, pki, agent, evil, upload):
    before = resident_kb(agent.pid)
    evil.publish_once(command_topic(upload), b"y" * (80 << 20))
    agent.wait_log("connected to the broker", timeout_s=120, count=2)
    path = agent.file("wanted", b"wanted")
    evil.publish(command_topic(upload), {"path": str(path), "ticket": ticket(pki, CLIENT, upload, path)})
    evil.wait_for(status_topic(upload), lambda m: m["state"] == "done")
    assert resident_kb(agent.pid) < before + 4 * GROWTH_MAX_KB


class Trap:
    """Listens, and remembers whether anybody came."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.visits = 0
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        try:
            while True:
                self.socket.accept()[0].close()
                self.visits += 1
        except OSError:
            pass

    def close(self):
        self.socket.close()


def test_no_command_sends_a_file_to_another_host(house, pki, agent, evil, upload):
    trap = house.closing(Trap())
    path = agent.file("mine", b"mine")
    url = f"https://127.0.0.1:{trap.port}"
    names = ("receiver", "url", "host", "location", "proxy", "receivers", "ca")
    for i, name in enumerate(names):
        asked, signed = f"{upload}-{i}", f"{upload}-s{i}"
        evil.publish(command_topic(asked), {"path": str(path), name: url, "ticket": ticket(pki, CLIENT, asked, path)})
        # and even the coordinator can't: it may name one of the device's receivers, nothing else
        evil.publish(command_topic(signed), {"path": str(path), "ticket": ticket(pki, CLIENT, signed, path, **{name: url})})
    for i, name in enumerate(names):
        for one in (f"{upload}-{i}", f"{upload}-s{i}"):
            end = evil.wait_for(status_topic(one), lambda m: m["state"] in ("done", "rejected"))
            assert (end["state"] == "rejected") == (name == "receiver"), (name, end)
    assert trap.visits == 0


def test_hostile_broker_can_not_undo_what_is_finished(house, pki, agent, evil, upload):
    house.start_coordinator()
    house.wait_online(CLIENT)
    path = agent.file("kept", b"kept")
    request = house.ask(CLIENT, path)
    row = house.wait_status(request, "completed")
    for _ in range(50):
        evil.publish(command_topic(request, "cancel"), {})
        for state in ("cancelled", "failed", "rejected", "running"):
            evil.publish(status_topic(request), {"state": state, "path": str(path), "attempt": 99})
        evil.publish(f"beckon/v1/{CLIENT}/receipt/{request}", {"receipt": "a.b.c", "sha256": "0" * 64})
    again = house.ask(CLIENT, agent.file("after", b"after"))  # so that all of it has been heard
    house.wait_status(again, "completed")
    assert {**house.request_row(request), "history": None} == {**row, "history": None}
    fetched = house.folder / "fetched"
    assert house.cli("status", request).returncode == 0
    assert house.cli("get", CLIENT, path, "-o", fetched).returncode == 0 and fetched.read_bytes() == b"kept"
    assert house.stored(CLIENT, request).read_bytes() == b"kept"
    evil.publish(command_topic(request), {"path": str(path), "ticket": ticket(pki, CLIENT, request, path)})
    wait_until(lambda: evil.on(status_topic(request))[-1]["state"] == "done", "the recorded end to be told")


def test_forged_receipts_complete_nothing(house, pki, agent, evil, upload):
    house.start_coordinator()
    house.wait_online(CLIENT)
    agent.stop()
    request = house.ask(CLIENT, agent.files / "never")
    now = int(time.time())
    claims = {"iss": "receiver", "sub": CLIENT, "jti": request, "path": str(agent.files / "never"), "size": 4,
              "sha256": hashlib.sha256(b"fake").hexdigest(), "iat": now}
    typ = "beckon-receipt+jwt"
    tokens = [sign(claims, pki.token_key("coordinator"), typ), sign(claims, pki.token_key("somebody"), typ),
              unsigned(claims, typ), sign({**claims, "sub": "kiosk_2"}, pki.token_key("receiver"), typ),
              sign({**claims, "jti": "other"}, pki.token_key("receiver"), typ),
              sign(claims, pki.token_key("receiver"), "beckon-ticket+jwt"), "", "x" * 9000]
    for token in tokens:
        evil.publish(f"beckon/v1/{CLIENT}/receipt/{request}", {**claims, "receiver": "receiver", "receipt": token})
    evil.publish(status_topic(request), {"state": "done", "path": claims["path"], "size": 4, "sha256": claims["sha256"]})
    wait_until(lambda: house.request_row(request)["status"] != "queued", "the coordinator to hear all of it")
    stays(lambda: house.request_row(request)["status"] == "running", "not completed", 1)
    agent.start()


def test_cancels_and_commands_in_floods_do_not_grow_the_agent(house, pki, agent, evil, upload):
    """Cancels are not signed: a broker that holds messages back can stop uploads anyway. They must cost little."""
    path = agent.file("wanted", b"wanted")
    for start in range(0, 400 if SANITIZED else 1000, BATCH):
        for i in range(start, start + BATCH):
            evil.publish_soon(command_topic(f"{upload}-{i}", "cancel"), {})
        wait_until(lambda: evil.on(status_topic(f"{upload}-{i}")), "the last answer", 60)
        if start == 0:
            before = resident_kb(agent.pid)
    assert SANITIZED or resident_kb(agent.pid) < before + GROWTH_MAX_KB
    evil.publish(command_topic(upload), {"path": str(path), "ticket": ticket(pki, CLIENT, upload, path)})
    evil.wait_for(status_topic(upload), lambda m: m["state"] == "done", 60)
    assert is_running(agent.pid)
