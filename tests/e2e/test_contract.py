"""docs/openapi.yaml, openapi-receiver.yaml and asyncapi.yaml: the public's validators take them, other people's programs can be made
from them, and all that is said over REST and MQTT is as they say (harness/contract.py looks in every other test, too)."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from harness import contract
from harness.npm import install
from harness.events import EventReader
from harness.https import repr_digest
from harness.observer import Observer
from harness.pki import ROOT
from harness.process import environment
from harness.waiting import SLOWNESS, wait_until

HERE = Path(__file__).parent / "contract"
DOCUMENTS = [ROOT / "docs" / name for name in ("openapi.yaml", "openapi-receiver.yaml", "asyncapi.yaml")]


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start()


@pytest.fixture
def agent(house):
    return house.agents["restaurant_1"]


# other people's programs


@pytest.fixture(scope="module")
def npm(tmp_path_factory):
    """A folder with the programs of contract/, and what their package-lock.json names."""
    return install(HERE, tmp_path_factory.mktemp("contract"), timeout_s=300)


def node(folder, *words, **env):
    done = subprocess.run(["node", *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=120 * SLOWNESS,
                          check=False, env=environment(**env))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_public_validators_find_nothing_in_the_documents(npm):
    assert node(npm, "validate.mjs", *DOCUMENTS, REDOCLY_TELEMETRY="off") == {path.name: [] for path in DOCUMENTS}


def test_public_validators_find_a_planted_mistake(npm, folder):
    planted = {"openapi.yaml": ("operationId: listClients", "operationId: getClient"),
               "asyncapi.yaml": ("action: receive", "action: listen")}
    for path in DOCUMENTS:
        if path.name in planted:
            (folder / path.name).write_text(path.read_text().replace(*planted[path.name]))
    found = node(npm, "validate.mjs", *(folder / name for name in planted), REDOCLY_TELEMETRY="off")
    assert all(found[name] for name in planted), found


def test_client_made_from_the_document_pulls_a_file(npm, house, agent):
    data = os.urandom(3_000_000)
    wish = {"document": str(DOCUMENTS[0]), "url": house.coordinator_url, "token": house.token, "clientId": "restaurant_1",
            "fileName": str(agent.file("generated.bin", data))}
    said = node(npm, "pull.mjs", json.dumps(wish), NODE_EXTRA_CA_CERTS=str(house.pki.ca))
    assert said["sha256"] == said["row"]["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.fixture
def older(house, folder):
    """Runs a script for the older design with the .curlrc that protocol.md says, and returns the finished process."""
    (folder / ".curlrc").write_text(f"cacert = {house.pki.ca}\noauth2-bearer = {house.token}\nnoproxy = *\n")
    return lambda script, path: subprocess.run(
        ["sh", script, house.coordinator_url, "restaurant_1", path], cwd=folder, env=environment(CURL_HOME=str(folder)), capture_output=True,
        text=True, timeout=60 * SLOWNESS, check=False)


def test_curl_script_of_the_older_design_works_word_for_word(house, agent, older):
    data = os.urandom(100_000)
    done = older(HERE / "older.sh", agent.file("older.bin", data))
    assert done.returncode == 0, done.stdout + done.stderr
    health, clients, downloads, row = map(json.loads, done.stdout.splitlines())
    assert health["status"] == "ok" and health["timestamp"]
    assert "restaurant_1" in [one["id"] for one in clients["clients"]] and clients["count"] == len(clients["clients"])
    assert row["requestId"] in [one["requestId"] for one in downloads["downloads"]] and downloads["count"] >= 1
    assert (row["status"], row["bytesReceived"]) == ("completed", len(data))
    assert (house.store / row["filePath"]).read_bytes() == data


def test_protocol_md_explains_each_reason_of_the_rest_api():
    text = (ROOT / "docs" / "protocol.md").read_text().partition("### Refusals\n")[2].partition("\n### ")[0]
    explained = [reason for row in re.findall(r"^\| (`[A-Z_`, ]+) \|", text, re.MULTILINE) for reason in re.findall("[A-Z_]+", row)]
    known = contract.document("openapi")["components"]["schemas"]["Problem"]["properties"]["reason"]["x-extensible-enum"]
    assert sorted(explained) == sorted(known)


def test_curl_script_of_the_older_design_ends_at_a_missing_file_with_the_addition_of_protocol_md(agent, older, folder):
    addition = re.search(r"(?m)^\| (sed .*)$", (ROOT / "docs" / "protocol.md").read_text())[0]
    text, end_of_its_look = (HERE / "older.sh").read_text(), "| cut -d '\"' -f 4)"
    assert text.count(end_of_its_look) == 1
    (folder / "older.sh").write_text(text.replace(end_of_its_look, f"{end_of_its_look[:-1]} {addition})"))
    done = older(folder / "older.sh", agent.files / "no-such-file")
    assert done.returncode == 1 and done.stderr == "", done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["status"], row["error"]["reason"]) == ("rejected", "FILE_NOT_FOUND")


# what is said


def test_every_call_of_the_coordinator_is_answered_as_written(house, agent):
    api = house.api()
    events = house.closing(EventReader(api))
    for path in ("/health", "/livez", "/readyz", "/metrics", "/session", "/", "/web/main.js", "/clients", "/clients/restaurant_1"):
        assert api.request("GET", path).status == 200, path
    assert api.request("POST", "/session", headers={"Beckon-Csrf": "1"}).status == 200
    assert api.request("DELETE", "/session").status == 200

    pulled = pull(house, agent.file("called.bin", b"called"))
    row = house.wait_status(pulled, "completed")
    location = api.request("GET", f"/download/{pulled}/content")["Location"]
    assert house.https().request("GET", location.removeprefix(house.receiver_url)).body == b"called"
    never = house.ask("restaurant_1", agent.file("never.bin", b"never"))
    api.request("DELETE", f"/download/{never}")
    house.wait_status(never, "cancelled", "completed")

    batch = api.request("POST", "/download", {"clients": ["restaurant_*"], "fileName": row["fileName"], "maxFailures": 3}).json()["batchId"]
    events.wait("batch", batchId=batch, state="done")
    assert api.request("GET", f"/batches/{batch}").json()["counts"]["completed"] == 1
    assert api.request("GET", f"/downloads?batch={batch}&client=restaurant_1&status=completed&limit=5").json()["count"] == 1
    assert batch in [one["batchId"] for one in api.request("GET", "/batches").json()["batches"]]
    slow = api.request("POST", "/download", {"all": True, "fileName": row["fileName"], "ramp": 1, "rate": 1}).json()["batchId"]
    assert api.request("DELETE", f"/batches/{slow}").status == 202

    assert api.request("DELETE", f"/download/{pulled}/content").status == 202
    wait_until(lambda: house.request_row(pulled)["removedAt"], "the file to be removed")
    answer = api.request("GET", f"/download/{pulled}/content")
    assert answer.status == 410 and "ask the device for it again" in answer.json()["message"]
    assert_all_were_answered("openapi")


def pull(house, path):
    return house.api().request("POST", "/download", {"clientId": "restaurant_1", "fileName": str(path), "maxSize": 1000, "rate": 1000000,
                                                     "expires": 600}).json()["requestId"]


def test_every_call_of_the_receiver_is_answered_as_written(house, pki, upload):
    device, resource = house.https(pki.client("restaurant_1")), f"/v1/uploads/{upload}"
    for path in ("/health", "/livez", "/readyz"):
        assert house.https().request("GET", path).status == 200
    assert house.https(pki.service("operator")).request("GET", "/metrics").status == 200
    for path in ("/v1/uploads", resource):
        assert device.request("OPTIONS", path).status == 204
    made = device.request("POST", "/v1/uploads", b"", {"Upload-Complete": "?0", "Upload-Length": "6", "Upload-Draft-Interop-Version": "8"})
    assert made.status == 201 and device.request("DELETE", made["Location"]).status == 204
    assert device.request("PUT", resource, b"abc", {"Upload-Complete": "?0", "Upload-Length": "6"}).status == 201
    assert device.request("HEAD", resource)["Upload-Offset"] == "3"
    middle = {"Content-Type": "application/partial-upload", "Upload-Offset": "3"}
    assert device.request("PATCH", resource, b"d", middle).status == 204
    last = {**middle, "Upload-Offset": "4", "Upload-Complete": "?1", "Repr-Digest": repr_digest(b"abcdef")}
    assert device.request("PATCH", resource, b"ef", last).status == 200
    for headers, status in (({}, 200), ({"Range": "bytes=1-2"}, 206), ({"Range": "bytes=9-"}, 416)):
        assert device.request("GET", resource, headers=headers).status == status
    assert_all_were_answered("openapi-receiver")


def assert_all_were_answered(name):
    """Each operation of a document was answered well at least once."""
    wanted = {operation.id for _, methods in contract.operations(name) for operation in methods.values()}
    answered = {seen[1] for seen in contract.seen if seen[0] == name and seen[2] < 400}
    assert wanted - answered == set()


def test_every_message_is_as_written(house, pki, agent):
    """Heard where the broker lets one: as an operator, as a device, and as coordinator and receiver do; with its user properties."""
    house.observer(subscribe=("beckon/v1/+/status/+", "beckon/v1/+/receipt/+", "beckon/v1/+/presence"), mqtt5=True)
    house.observer("coordinator", subscribe=("beckon/v1/+/removed/+",), mqtt5=True)
    house.observer("receiver", subscribe=("beckon/v1/+/cmd/receipt/+", "beckon/v1/+/cmd/cancel/+", "beckon/v1/+/cmd/remove/+"), mqtt5=True)
    device = house.closing(Observer(house.devices_port, pki.ca, pki.client("restaurant_2"), subscribe=("beckon/v1/restaurant_2/cmd/#",),
                                    mqtt5=True))
    device.publish("beckon/v1/restaurant_2/presence", {"online": True})
    house.wait_online("restaurant_2")
    silent = house.ask("restaurant_2", "/srv/nobody/answers")
    device.wait_for(f"beckon/v1/restaurant_2/cmd/upload/{silent}")
    house.api().request("DELETE", f"/download/{silent}")
    device.wait_for(f"beckon/v1/restaurant_2/cmd/cancel/{silent}")
    device.publish(f"beckon/v1/restaurant_2/status/{silent}", {"state": "failed"})  # so a receipt is asked for, in vain
    told = pull(house, agent.file("told.bin", b"told"))
    house.wait_status(told, "completed")
    house.api().request("DELETE", f"/download/{told}/content")
    house.wait_status(house.ask("restaurant_1", "/etc/shadow"), "rejected")
    agent.stop()
    wanted = {("asyncapi", name) for name, _, _ in contract.channels()}
    wait_until(lambda: wanted <= contract.seen, lambda: f"messages of {wanted - contract.seen}")
    agent.start()


@pytest.mark.parametrize("answer", [
    ("GET", "/clients", 200, {"clients": [], "count": 0, "colour": "red"}),
    ("GET", "/clients", 200, {"clients": []}),
    ("GET", "/clients", 200, {"clients": [{"id": ".."}], "count": 1}),
    ("GET", "/clients", 418, {"clients": [], "count": 0}),
    ("GET", "/nothing", 200, {}),
    ("GET", "/nothing", 404, {"reason": "NO_SUCH_PATH"}),
], ids=["more", "less", "wrong", "status", "path", "problem"])
def test_what_does_not_fit_is_noticed(answer):
    class Answer:
        method, path, status, value = answer
        headers = {"Content-Type": "application/problem+json" if status >= 400 else "application/json", "Cache-Control": "no-store"}
        body = json.dumps(value).encode()
    contract.check_answer("openapi", Answer.method, Answer.path, None, Answer)
    assert len(contract.take_faults()) == 1


@pytest.mark.parametrize("topic, payload", [
    ("status/1", b'{"state":"asleep","sent":0,"attempt":1,"at":"2026-11-21T11:06:04.123Z"}'),
    ("status/1", b'{"state":"done","sent":0,"attempt":1,"at":"yesterday"}'),
    ("presence", b'{"online":false,"since":"2026-11-21T11:06:04.123Z"}'),
    ("gossip", b"{}"),
    ("status/1", b"{"),
])
def test_message_that_does_not_fit_is_noticed(topic, payload):
    contract.check_message(f"beckon/v1/restaurant_1/{topic}", payload)
    assert len(contract.take_faults()) == 1


TRACE = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


@pytest.mark.parametrize("topic, properties, faults", [
    ("cmd/cancel/1", [TRACE], 0),
    ("cmd/cancel/1", None, 0),
    ("cmd/cancel/1", [], 1),
    ("cmd/cancel/1", [("traceparent", "nonsense")], 1),
    ("cmd/cancel/1", [TRACE, TRACE], 1),
    ("cmd/cancel/1", [TRACE, ("colour", "red")], 1),
    ("presence", [], 0),
    ("presence", [TRACE], 1),
])
def test_user_property_that_does_not_fit_is_noticed(topic, properties, faults):
    contract.check_message(f"beckon/v1/restaurant_1/{topic}", b'{"online":false}' if topic == "presence" else b"{}", properties)
    assert len(contract.take_faults()) == faults


