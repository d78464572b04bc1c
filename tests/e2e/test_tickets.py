"""Tickets as they are meant: the coordinator signs, agent and receiver obey nothing else, and a ticket goes no further."""

import json
import os
import subprocess
import time

import pytest

from harness.https import read_answer, repr_digest
from harness.process import environment
from harness.tokens import ticket, verify
from harness.waiting import wait_until

CLIENT = "restaurant_1"


def locked_down(pki):
    """Changes to the configurations of agent and receiver."""
    return ({"agent": {"coordinator_key": pki.token_public("coordinator")}, "receivers": {}},
            {"receiver": {"require_ticket": "yes"}})


@pytest.fixture(scope="module")
def house(shared_house, pki):
    agent, receiver = locked_down(pki)
    return shared_house.start(agent=agent, receiver=receiver)


@pytest.fixture
def agent(house):
    return house.agents[CLIENT]


@pytest.fixture
def operator(house):
    return house.observer()


def beckon_ticket(house, *words):
    result = house.cli("ticket", "--key", house.pki.token_key("coordinator"), *words)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result


def test_beckon_get_works_as_ever_where_tickets_are_needed(house, agent):
    data = os.urandom(100000)
    path = agent.file("with a ticket", data)
    out = house.folder / "with-a-ticket"
    result = house.cli("get", CLIENT, path, "-o", out, "--max-size", "1M", "--rate", "50M")
    assert result.returncode == 0, result.stderr
    assert out.read_bytes() == data


def test_payload_of_beckon_ticket_published_with_mosquitto_pub_is_obeyed(house, agent, operator, upload):
    path = agent.file("by hand", b"by hand")
    payload, result = beckon_ticket(house, "--id", upload, "--expires", "10m", "--max-size", "1K", CLIENT, path)
    topic = f"beckon/v1/{CLIENT}/cmd/upload/{upload}"
    assert topic in result.stderr
    claims = verify(payload["ticket"], house.pki.token_public("coordinator"), "beckon-ticket+jwt")
    assert (claims["aud"], claims["jti"], claims["path"], claims["max_size"]) == (CLIENT, upload, str(path), 1024)
    assert claims["exp"] - claims["iat"] == 600
    subprocess.run(["mosquitto_pub", *house.mosquitto_options(), "-t", topic, "-m", result.stdout.strip()],
                   env=environment(), check=True)
    operator.wait_for(f"beckon/v1/{CLIENT}/receipt/{upload}")
    assert house.stored(CLIENT, upload).read_bytes() == b"by hand"
    house.wait_status(upload, "completed")


@pytest.mark.parametrize("words", [
    (), ("kiosk",), ("bad/client", "/x"), ("kiosk", ""), ("kiosk", "/x", "--id", "a b"), ("kiosk", "/x", "--expires", "0"),
    ("kiosk", "/x", "--max-size", "x"), ("kiosk", "/x", "--receiver", "r" * 65), ("kiosk", "/x", "--key", "/dev/null"),
    ("kiosk", "/x", "--key", "/does/not/exist")], ids=str)
def test_mistake_at_beckon_ticket_prints_no_ticket(house, words):
    result = house.cli("ticket", "--key", house.pki.token_key("coordinator"), *words)
    assert (result.returncode, result.stdout) == (2, "") and result.stderr, result


def test_limits_of_the_ticket_hold_and_larger_files_stay(house, agent, operator, upload):
    path = agent.file("large", b"x" * 1025)
    payload, _ = beckon_ticket(house, "--id", upload, "--max-size", "1K", CLIENT, path)
    operator.publish(f"beckon/v1/{CLIENT}/cmd/upload/{upload}", payload)
    answer = operator.wait_for(f"beckon/v1/{CLIENT}/status/{upload}")
    assert (answer["state"], answer["error"]["reason"]) == ("rejected", "FILE_TOO_LARGE")


def test_ticket_is_in_no_log_no_argument_and_no_record_of_what_is_done(house, agent, operator, upload):
    path = agent.file("slow", b"x" * 2000000)
    payload, _ = beckon_ticket(house, "--id", upload, "--rate", "1M", CLIENT, path)
    operator.publish(f"beckon/v1/{CLIENT}/cmd/upload/{upload}", payload)
    worker = wait_until(agent.workers, "the worker")[0]
    house.wait_bytes(upload)
    secret = payload["ticket"].rsplit(".", 1)[1].encode()
    for name in ("cmdline", "environ"):
        with open(f"/proc/{worker}/{name}", "rb") as file:
            assert secret not in file.read()
    operator.wait_for(f"beckon/v1/{CLIENT}/receipt/{upload}")
    operator.wait_for(f"beckon/v1/{CLIENT}/status/{upload}", lambda m: m["state"] == "done")
    record = agent.state / "jobs" / f"{upload}.json"
    wait_until(lambda: json.loads(record.read_text())["reported"], "the end to be told")
    assert secret not in record.read_bytes()
    assert [daemon.name for daemon in house.daemons if secret.decode() in daemon.log()] == []


def test_upload_goes_on_with_its_ticket_after_the_agent_was_killed(house, agent, operator, upload):
    path = agent.file("resumed", os.urandom(3000000))
    payload, _ = beckon_ticket(house, "--id", upload, "--rate", "1M", CLIENT, path)
    operator.publish(f"beckon/v1/{CLIENT}/cmd/upload/{upload}", payload)
    house.wait_bytes(upload)
    agent.kill()
    agent.start()
    operator.wait_for(f"beckon/v1/{CLIENT}/receipt/{upload}", timeout_s=60)
    assert house.stored(CLIENT, upload).read_bytes() == path.read_bytes()


def test_cancel_in_the_middle_drops_the_part_by_the_ticket(house, agent, operator, upload):
    path = agent.file("cancelled", b"x" * 5000000)
    payload, _ = beckon_ticket(house, "--id", upload, "--rate", "500K", CLIENT, path)
    operator.publish(f"beckon/v1/{CLIENT}/cmd/upload/{upload}", payload)
    house.wait_bytes(upload)
    operator.publish(f"beckon/v1/{CLIENT}/cmd/cancel/{upload}", {})
    operator.wait_for(f"beckon/v1/{CLIENT}/status/{upload}", lambda m: m["state"] == "cancelled")
    wait_until(lambda: house.parts(upload) == [], "the part to go")


# the receiver


def request(house, method, upload, token, body=None, identity=CLIENT, **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        fields["Authorization"] = f"Bearer {token}"
    client = house.https(identity and house.pki.client(identity))
    return client.request(method, f"/v1/uploads/{upload}" if upload else "/v1/uploads", body, fields)


def test_upload_by_a_ticket_of_a_stranger_s_client(house, pki, upload):
    token = ticket(pki, CLIENT, upload, "/srv/named", max_size=10)
    new = request(house, "HEAD", upload, token)
    assert (new.status, new["Upload-Offset"], new["Upload-Limit"]) == (204, "0", "max-size=10")
    first = request(house, "PATCH", upload, token, b"12345", Content_Type="application/partial-upload", Upload_Offset="0")
    assert (first.status, first["Upload-Offset"]) == (204, "5")
    again = request(house, "PATCH", upload, token, b"1", Content_Type="application/partial-upload", Upload_Offset="0")
    assert (again.status, again["Upload-Offset"]) == (409, "5")
    last = request(house, "PATCH", upload, token, b"678", Content_Type="application/partial-upload", Upload_Offset="5",
                   Upload_Complete="?1", Repr_Digest=repr_digest(b"12345678"))
    assert last.status == 200, last
    assert house.stored(CLIENT, upload).name == "named"  # the ticket's path: none was said
    assert request(house, "HEAD", upload, token)["Upload-Complete"] == "?1"
    assert request(house, "DELETE", upload, token).status == 409


def test_post_makes_the_upload_that_the_ticket_names(house, pki, upload):
    token = ticket(pki, CLIENT, upload, "/srv/posted")
    made = request(house, "POST", None, token, b"data", Repr_Digest=repr_digest(b"data"))
    assert (made.status, made["Location"]) == (201, f"/v1/uploads/{upload}")
    assert house.stored(CLIENT, upload).read_bytes() == b"data"


def test_what_the_ticket_does_not_allow_is_refused_before_the_body(house, pki, upload):
    small = ticket(pki, CLIENT, upload, "/srv/x", max_size=10)
    for expected, reason, token, headers in [
            (413, "FILE_TOO_LARGE", small, {"Upload-Length": "11"}),
            (403, "TICKET_INVALID", small, {"Beckon-Path": "/srv/y"}),
            (403, "TICKET_INVALID", ticket(pki, "restaurant_2", upload, "/srv/x"), {}),
            (401, "TICKET_EXPIRED", ticket(pki, CLIENT, upload, "/srv/x", exp=int(time.time())), {}),
            (401, "TICKET_MISSING", None, {})]:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        stream = house.https(pki.client(CLIENT)).begin_put(f"/v1/uploads/{upload}",
                                                           {"Expect": "100-continue", **bearer, **headers})
        with stream:
            answer = read_answer(stream, "PUT")  # though no byte of the body was sent
        assert (answer.status, answer.json()["reason"]) == (expected, reason)
        assert answer["WWW-Authenticate"] == ("Bearer" if expected == 401 else None)
    assert house.parts(upload) == [] and house.stored(CLIENT, upload) is None


def test_upload_by_a_ticket_needs_a_digest_and_says_no_without_losing_what_came(house, pki, upload):
    token = ticket(pki, CLIENT, upload, "/srv/x")
    refused = request(house, "PUT", upload, token, b"data")
    assert (refused.status, refused.json()["reason"]) == (400, "DIGEST_MISSING")
    assert request(house, "HEAD", upload, token)["Upload-Offset"] == "4"
    end = request(house, "PATCH", upload, token, b"", Content_Type="application/partial-upload", Upload_Offset="4",
                  Upload_Complete="?1", Repr_Digest=repr_digest(b"data"))
    assert end.status == 200, end


def test_a_ticket_is_never_instead_of_a_certificate_unless_an_option_says_so(folder, pki, upload):
    from conftest import opened
    from harness.house import House
    with opened(House(folder, pki)) as house:
        house.start_broker()
        token = ticket(pki, CLIENT, upload, "/srv/x")
        for alone, status in (("no", 401), ("yes", 201)):
            house.start_receiver({"receiver": {"require_ticket": "yes", "ticket_alone": alone}})
            answer = request(house, "PUT", upload, token, b"data", identity=None, Repr_Digest=repr_digest(b"data"))
            assert answer.status == status, answer
            assert request(house, "PUT", upload, None, b"data", identity=None).status == 401
            other = request(house, "PUT", upload, token, b"data", identity="restaurant_2", Repr_Digest=repr_digest(b"data"))
            assert other.status == 403, other
            house.receiver.stop()
        assert house.stored(CLIENT, upload).read_bytes() == b"data"


# the life of keys, and times


def test_key_is_rotated_with_two_valid_and_the_old_one_ends(folder, pki):
    from conftest import opened
    from harness.house import House
    old, new = pki.token_public("coordinator"), pki.token_public("coordinator2")
    with opened(House(folder, pki)) as house:
        house.start_broker()
        keys = {"coordinator_key": [old, new]}
        house.start_receiver({"receiver": {**keys, "require_ticket": "yes"}})
        agent = house.start_agent(CLIENT, {"agent": keys})
        operator = house.observer()

        def end_of(name, key):
            path = agent.file(name, name.encode())
            operator.publish(f"beckon/v1/{CLIENT}/cmd/upload/{name}",
                             {"path": str(path), "ticket": ticket(pki, CLIENT, name, path, key=key)})
            return operator.wait_for(f"beckon/v1/{CLIENT}/status/{name}", lambda m: m["state"] in ("done", "rejected"))
        assert end_of("by-old", "coordinator")["state"] == "done"
        assert end_of("by-new", "coordinator2")["state"] == "done"
        agent.stop()
        agent = house.start_agent(CLIENT, {"agent": {"coordinator_key": new}})
        assert end_of("by-old-2", "coordinator")["error"]["reason"] == "TICKET_INVALID"
        assert end_of("by-new-2", "coordinator2")["state"] == "done"


def test_ticket_whose_time_is_over_by_the_coordinators_time_is_refused_whatever_the_clock(house, pki, agent, operator, upload):
    """The device's clock is two days behind; a newer ticket tells it so, and a restart does not make it forget."""
    now = int(time.time())
    path = agent.file("times", b"times")

    def state_of(name, issued, expires):
        operator.publish(f"beckon/v1/{CLIENT}/cmd/upload/{name}", {
            "path": str(path), "ticket": ticket(pki, CLIENT, name, path, iat=now + issued, exp=now + expires)})
        return operator.wait_for(f"beckon/v1/{CLIENT}/status/{name}", lambda m: m["state"] in ("done", "rejected"))
    late = 2 * 86400
    assert state_of(f"{upload}-1", 0, late - 60)["state"] == "done"  # held back by nobody
    assert state_of(f"{upload}-2", late, late + 600)["state"] == "done"  # from its future
    agent.restart()
    refused = state_of(f"{upload}-3", 0, late - 60)
    assert (refused["state"], refused["error"]["reason"]) == ("rejected", "TICKET_EXPIRED")
    assert state_of(f"{upload}-1", 0, late - 60)["state"] == "done"  # known: the recorded end


def test_job_from_before_there_was_a_key_is_given_up(folder, pki, upload):
    from conftest import opened
    from harness.house import House
    with opened(House(folder, pki)) as house:
        house.start_broker()
        house.start_receiver()
        house.receiver.stop()
        agent = house.start_agent(CLIENT)
        operator = house.observer()
        path = agent.file("planted", b"planted")
        operator.publish(f"beckon/v1/{CLIENT}/cmd/upload/{upload}", {"path": str(path)})
        operator.wait_for(f"beckon/v1/{CLIENT}/status/{upload}", lambda m: m["state"] == "accepted")
        agent.stop()
        house.start_agent(CLIENT, {"agent": {"coordinator_key": pki.token_public("coordinator")}})
        end = operator.wait_for(f"beckon/v1/{CLIENT}/status/{upload}", lambda m: m["state"] == "failed")
        assert end["error"]["reason"] == "TICKET_MISSING"


def test_agent_without_a_key_obeys_plain_commands_and_passes_tickets_on(folder, pki, upload):
    from conftest import opened
    from harness.house import House
    with opened(House(folder, pki)) as house:
        house.start_broker()
        house.start_receiver({"receiver": {"require_ticket": "yes"}})
        agent = house.start_agent(CLIENT)
        operator = house.observer()
        path = agent.file("passed", b"passed")
        topic = f"beckon/v1/{CLIENT}/cmd/upload/{upload}"
        operator.publish(topic, {"path": str(path), "ticket": ticket(pki, CLIENT, upload, path)})
        operator.wait_for(f"beckon/v1/{CLIENT}/receipt/{upload}")
        operator.publish(f"{topic}-plain", {"path": str(path)})
        end = operator.wait_for(f"beckon/v1/{CLIENT}/status/{upload}-plain", lambda m: m["state"] == "failed")
        assert end["error"]["reason"] == "TICKET_MISSING"
