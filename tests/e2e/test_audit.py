"""The audit log: who asked for what, when, from where, and what came of it. One line each, whoever writes what."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess

import pytest

from conftest import opened, temporary_folder
from harness.house import House
from harness.https import HttpsClient
from harness.tokens import operator_token, sign
from harness.waiting import wait_until

CLIENT = "restaurant_1"
HOSTILE = "/srv/a\r\n{\"user\":\"root\"}\x1b[2J\x7f\u009b\u202egpj<b>"


def start(house, folder):
    house.start_broker()
    house.start_receiver({"receiver": {"audit_file": folder / "receiver.log"}})
    house.start_coordinator({"coordinator": {"audit_file": folder / "coordinator.log"}})
    house.start_agent(CLIENT)
    house.audit = folder
    return house


@pytest.fixture(scope="module")
def house(pki):
    with temporary_folder() as path, opened(House(path, pki)) as one:
        yield start(one, path)


@pytest.fixture(scope="module")
def alice(house):
    return operator_token(house, "alice", "restaurant_*")


def lines(house, name):
    path = house.audit / f"{name}.log"
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


class Log:
    """What is written from now on."""

    def __init__(self, house, name):
        self.house, self.name = house, name
        self.before = len(lines(house, name))

    def new(self):
        return lines(self.house, self.name)[self.before:]

    def told(self, *members):
        return [tuple(line.get(member) for member in members) for line in self.new()]


def completed(house, upload, data=b"content"):
    answer = house.https(house.pki.client(CLIENT)).request("PUT", f"/v1/uploads/{upload}", data, {"Beckon-Path": "/srv/the%20file"})
    assert answer.status == 201, answer
    wait_until(lambda: (row := house.request_row(upload)) and row["status"] == "completed", f"{upload} to be known")


def content(house, token, upload, headers=None):
    """Follows the redirect by hand; returns the receiver's answer."""
    location = house.api(token).request("GET", f"/download/{upload}/content")["Location"]
    return house.https().request("GET", location.partition(str(house.receiver_port))[2], headers=headers)


def test_every_call_is_one_line(house, alice, upload):
    completed(house, upload)
    log = Log(house, "coordinator")
    api = house.api(alice)
    calls = [("GET", "/clients", 200, "ok"), ("GET", f"/clients/{CLIENT}", 200, "ok"), ("GET", "/clients/factory_1", 404, "UNKNOWN_CLIENT"),
             ("GET", "/downloads", 200, "ok"), ("GET", f"/download/{upload}", 200, "ok"), ("GET", "/download/x", 404, "UNKNOWN_REQUEST"),
             ("DELETE", f"/download/{upload}", 409, "ALREADY_FINAL"), ("GET", f"/download/{upload}/content", 302, "ok"),
             ("GET", "/downloads?limit=0", 400, "INVALID_QUERY"), ("PUT", "/clients", 405, "METHOD_NOT_ALLOWED"),
             ("GET", "/nothing", 404, "NO_SUCH_PATH"), ("DELETE", "/session", 200, "ok")]
    for method, path, status, _ in calls:
        assert api.request(method, path).status == status, path
    assert HttpsClient(house.coordinator_port, house.pki.ca).request("GET", "/health").status == 200  # no line: it is open to all
    assert log.told("user", "from", "what", "status", "result") == [
        ("alice", "127.0.0.1", f"{method} {path.partition('?')[0]}", status, result) for method, path, status, result in calls]
    for line in log.new():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) and line["program"] == "beckon-coordinator"


def test_request_is_on_record_with_its_file_and_id(house, alice, upload):
    log = Log(house, "coordinator")
    answer = house.api(alice).request("POST", "/download", {"clientId": CLIENT, "fileName": HOSTILE})
    assert answer.status == 202, answer
    assert log.told("user", "what", "client", "file", "id", "status", "result") == [
        ("alice", "POST /download", CLIENT, HOSTILE, answer.json()["requestId"], 202, "ok")]
    raw = (house.audit / "coordinator.log").read_bytes().splitlines()[-1].decode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", raw), raw


def test_refusals_are_lines(house, alice, upload):
    log = Log(house, "coordinator")
    looker = operator_token(house, "looker", "*", scope="read")
    assert house.api(looker).request("POST", "/download", {"clientId": CLIENT, "fileName": "/x"}).status == 403
    assert house.api(alice).request("POST", "/download", "no json").status == 400
    assert house.api(alice).request("POST", "/download", {"clientId": "factory_1", "fileName": "/x"}).status == 404
    assert house.api(alice).request("POST", "/download", " " * 20000).status == 413
    assert log.told("user", "status", "result", "client", "file") == [
        ("looker", 403, "INSUFFICIENT_SCOPE", None, None), ("alice", 400, "INVALID_BODY", None, None),
        ("alice", 404, "UNKNOWN_CLIENT", "factory_1", "/x"), ("alice", 413, "BODY_TOO_LARGE", None, None)]


def test_shared_token_is_nobodys_name(house):
    log = Log(house, "coordinator")
    assert house.api().request("GET", "/clients").status == 200
    assert log.told("user") == [("(shared token)",)]


def test_hostile_path_stays_in_its_line(house, alice):
    log = Log(house, "coordinator")
    with house.api(alice).connect() as stream:
        stream.sendall(b"GET /\xff\x1b]0;x\x07\x9b2J\xe2\x80\xae\"} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
                       + alice.read_bytes().strip() + b"\r\n\r\n")
        answer = b""
        while piece := stream.recv(4096):
            answer += piece
    if answer.startswith(b"HTTP/1.1 404"):
        (line,) = log.new()
        assert line["what"] == "GET /\ufffd\x1b]0;x\x07\ufffd2J\u202e\"}"
    raw = (house.audit / "coordinator.log").read_bytes()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", raw)


def test_downloads_are_lines_of_the_receiver(house, alice, upload):
    completed(house, upload)
    log = Log(house, "receiver")
    assert content(house, alice, upload).body == b"content"
    assert content(house, alice, upload, {"Range": "bytes=3-"}).body == b"tent"
    assert content(house, None, upload).status == 200
    assert house.https(house.pki.client(CLIENT)).request("GET", f"/v1/uploads/{upload}").status == 200
    assert house.https(house.pki.service("coordinator")).request("GET", f"/v1/uploads/{upload}?client={CLIENT}").status == 200
    assert content(house, alice, upload, {"Range": "bytes=99-"}).status == 416
    expected = [("alice", 200, "ok"), ("alice", 206, "ok"), ("(shared token)", 200, "ok"), (f"CN={CLIENT}", 200, "ok"),
                ("CN=coordinator", 200, "ok"), ("alice", 416, "RANGE_UNSATISFIABLE")]
    assert log.told("user", "status", "result") == expected
    assert set(log.told("program", "from", "what", "client", "file", "id")) == {
        ("beckon-receiver", "127.0.0.1", "GET", CLIENT, "/srv/the file", upload)}


def test_refused_downloads_are_lines_of_the_receiver(house, upload):
    completed(house, upload)
    log = Log(house, "receiver")
    https = house.https()
    expired = sign({"scope": "download", "aud": CLIENT, "jti": upload, "path": "/srv/x", "iat": 1, "exp": 2},
                   house.pki.token_key("coordinator"), "beckon-ticket+jwt")
    assert https.request("GET", f"/v1/uploads/{upload}?ticket={expired}").status == 401
    assert https.request("GET", f"/v1/uploads/{upload}?ticket=x").status == 403
    assert https.request("GET", f"/v1/uploads/{upload}").status == 401
    assert house.https(house.pki.client("restaurant_2")).request("GET", f"/v1/uploads/{upload}").status == 404
    assert house.https(house.pki.service("operator")).request("GET", f"/v1/uploads/{upload}").status == 403
    assert log.told("user", "status", "result", "id") == [
        (None, 401, "TICKET_EXPIRED", upload), (None, 403, "TICKET_INVALID", upload), (None, 401, "NO_CERTIFICATE", upload),
        ("CN=restaurant_2", 404, "UPLOAD_NOT_FOUND", upload), ("CN=operator", 403, "NOT_ALLOWED", upload)]
    assert expired not in (house.audit / "receiver.log").read_text()


def test_logs_are_not_for_everybody(house):
    for name in ("coordinator", "receiver"):
        assert (house.audit / f"{name}.log").stat().st_mode & 0o777 == 0o640


def test_rotation_goes_on_in_a_new_file(house, alice, upload):
    completed(house, upload)
    for name, daemon in (("coordinator", house.coordinator), ("receiver", house.receiver)):
        path = house.audit / f"{name}.log"
        assert content(house, alice, upload).status == 200
        path.rename(f"{path}.1")
        kept = len((house.audit / f"{name}.log.1").read_text().splitlines())
        assert content(house, alice, upload).status == 200  # not told yet: into the old one
        assert len((house.audit / f"{name}.log.1").read_text().splitlines()) == kept + 1
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_log("opened anew")
        assert content(house, alice, upload).status == 200
        assert len(lines(house, name)) == 1
        assert len((house.audit / f"{name}.log.1").read_text().splitlines()) == kept + 1


def test_flood_of_bad_tokens_fills_neither_log(house, alice):
    log, logged = Log(house, "coordinator"), len(house.coordinator.log_lines("refused"))
    stranger = house.folder / "stranger"
    stranger.write_text("wrong")
    for _ in range(300):
        assert house.api(stranger).request("GET", "/clients").status == 401
    assert len(log.new()) < 40 and len(house.coordinator.log_lines("refused")) - logged < 40
    assert house.api(alice).request("GET", "/clients").status == 200
    assert log.told("user")[-1] == ("alice",)

    def counted():
        house.api(stranger).request("GET", "/clients")
        return sum(line.get("unwritten", 0) for line in log.new()) > 200  # in one line or, on a slow machine, several
    wait_until(counted, "the lines that tell of those left out", timeout_s=30, every_s=0.5)


def test_nothing_is_done_while_the_log_is_full(house, pki, upload):
    """A disk of its own for the logs, filled to the last byte."""
    with temporary_folder() as path, opened(House(path, pki)) as one:
        disk = path / "audit"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "beckon-e2e", disk], check=False, capture_output=True)
        if mounted.returncode != 0:
            pytest.skip("needs the right to mount a tmpfs")
        try:
            refused_while_full(start(one, disk), upload)
        finally:
            for daemon in (one.coordinator, one.receiver):
                if daemon:
                    daemon.stop()
            subprocess.run(["umount", disk], check=True)


def refused_while_full(house, upload):
    alice = operator_token(house, "alice", "restaurant_*")
    completed(house, upload)
    location = house.api(alice).request("GET", f"/download/{upload}/content")["Location"].partition(str(house.receiver_port))[2]
    assert house.https().request("GET", location).status == 200
    house.agents[CLIENT].stop()
    waiting = house.api(alice).request("POST", "/download", {"clientId": CLIENT, "fileName": "/srv/y"}).json()["requestId"]
    filler = house.audit / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    for name in ("coordinator", "receiver"):  # what is left of the last page of each
        path = house.audit / f"{name}.log"
        with open(path, "ab", buffering=0) as file:
            file.write(b" " * (-path.stat().st_size % 4096 - 1) + b"\n")
    for path in ("/clients", "/downloads", f"/download/{upload}", f"/download/{upload}/content"):
        answer = house.api(alice).request("GET", path)
        assert answer.status == 503 and answer.json()["reason"] == "AUDIT_FAILED" and answer["Retry-After"], answer
    rows = house_rows(house)
    for call in (("POST", "/download", {"clientId": CLIENT, "fileName": "/srv/x"}), ("DELETE", f"/download/{waiting}")):
        answer = house.api(alice).request(*call)
        assert answer.status == 503 and answer.json()["reason"] == "AUDIT_FAILED", answer
    answer = house.api(alice).request("DELETE", "/session")
    assert answer.status == 200 and "Max-Age=0" in answer["Set-Cookie"], answer
    answer = house.https().request("GET", location)
    assert answer.status == 503 and answer.json()["reason"] == "AUDIT_FAILED" and b"content" not in answer.body, answer
    assert house.api().request("GET", "/health").status == 200
    filler.unlink()
    assert house.api(alice).request("GET", "/clients").status == 200
    assert house.https().request("GET", location).body == b"content"
    assert house_rows(house) == rows
    assert house.api(alice).request("DELETE", f"/download/{waiting}").status == 202
    assert house_rows(house) != rows
    assert lines(house, "coordinator")[-1]["result"] == "ok" and lines(house, "receiver")[-1]["result"] == "ok"
    for daemon in (house.coordinator, house.receiver):
        assert len(daemon.log_lines("audit log can't be written")) == 1
        daemon.wait_log("can be written again")


def house_rows(house):
    """The requests, read past the coordinator."""
    with contextlib.closing(sqlite3.connect(f"file:{house.folder}/coordinator.db?mode=ro", uri=True)) as database:
        return database.execute("SELECT client, id, cancel_asked FROM requests").fetchall()
