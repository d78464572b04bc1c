"""One command published on the broker, and everything that follows from it."""

import hashlib
import json
import os
import subprocess
import threading
from datetime import datetime

import pytest

from harness.house import command_payload
from harness.process import environment
from harness.tokens import verify
from harness.waiting import wait_until


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start(agents=("restaurant_1", "restaurant_2"))


@pytest.fixture(scope="module")
def operator(house):
    return house.observer(subscribe=("beckon/v1/+/status/+", "beckon/v1/+/receipt/+", "beckon/v1/+/presence"))


@pytest.fixture
def agent(house):
    return house.agents["restaurant_1"]


class MosquittoSub:
    """mosquitto_sub in the background, its lines collected."""

    def __init__(self, house, *topics):
        words = ["stdbuf", "-oL", "mosquitto_sub", *house.mosquitto_options(), "-d", "-F", "%t %p"]
        for topic in topics:
            words += ["-t", topic]
        self.lines = []
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
        threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True).start()

        house.closing(self)
        wait_until(lambda: any(line.startswith("Subscribed") for line in self.lines), "mosquitto_sub to be subscribed")

    def close(self):
        self.process.terminate()
        self.process.wait()

    def wait_for(self, topic, wanted=lambda message: True):
        def heard():
            messages = [json.loads(line.split(" ", 1)[1]) for line in list(self.lines) if line.startswith(topic + " ")]
            return next(filter(wanted, messages), None)
        return wait_until(heard, f"a message on {topic} in mosquitto_sub; it has {self.lines[-5:]}")


def mosquitto_pub(house, topic, payload):
    result = subprocess.run(["mosquitto_pub", *house.mosquitto_options(), "-t", topic, "-m", payload],
                            capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 0, result.stderr


def test_mosquitto_pub_ends_in_a_verified_file_a_receipt_and_a_row(house, agent, upload):
    data = os.urandom(300000)
    path = agent.file("x.bin", data)
    sha256 = hashlib.sha256(data).hexdigest()
    listener = MosquittoSub(house, "beckon/v1/+/status/+", "beckon/v1/+/receipt/+")
    mosquitto_pub(house, f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(path))
    done = listener.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda m: m["state"] == "done")
    receipt = listener.wait_for(f"beckon/v1/restaurant_1/receipt/{upload}")
    assert (done["path"], done["size"], done["sent"], done["sha256"]) == (str(path), len(data), len(data), sha256)
    assert house.stored("restaurant_1", upload).read_bytes() == data
    assert house.stored("restaurant_1", upload).name == "x.bin"

    assert (receipt["size"], receipt["sha256"], receipt["path"]) == (len(data), sha256, str(path))
    claims = verify(receipt["receipt"], house.pki.token_public("receiver"), "beckon-receipt+jwt")
    assert claims["sub"] == "restaurant_1" and claims["jti"] == upload and claims["iss"] == "receiver"
    assert (claims["path"], claims["size"], claims["sha256"]) == (str(path), len(data), sha256)

    row = house.wait_status(upload, "completed")
    assert (row["clientId"], row["origin"], row["sha256"], row["size"]) == ("restaurant_1", "mqtt", sha256, len(data))
    shown = house.cli("downloads")
    assert shown.returncode == 0 and upload in shown.stdout and "completed" in shown.stdout


def test_states_come_in_order(house, agent, operator, upload):
    path = agent.file("order.bin", b"x" * 50000)
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(path))
    topic = f"beckon/v1/restaurant_1/status/{upload}"
    operator.wait_for(topic, lambda m: m["state"] == "done")
    states = [message["state"] for message in operator.on(topic)]
    assert states == sorted(states, key=["accepted", "running", "done"].index), states
    assert states[0] == "accepted"


def test_relative_path_is_taken_below_the_first_allowed_folder(house, agent, operator, upload):
    (agent.files / "sub").mkdir(exist_ok=True)
    agent.file("sub/relative.txt", b"relative")
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload("sub/relative.txt"))
    house.wait_status(upload, "completed")
    assert house.stored("restaurant_1", upload).read_bytes() == b"relative"


def test_two_requests_with_the_same_id_make_one_upload(house, agent, operator, upload):
    first, second = agent.file("first", b"first"), agent.file("second", b"second")
    topic = f"beckon/v1/restaurant_1/cmd/upload/{upload}"
    operator.publish(topic, command_payload(first))
    operator.publish(topic, command_payload(second))
    operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda m: m["state"] == "done")
    operator.publish(topic, command_payload(first))
    done = wait_until(lambda: [message for message in operator.on(f"beckon/v1/restaurant_1/status/{upload}")
                               if message["state"] == "done"][1:], "the recorded state to be told again")
    assert done[-1]["sha256"] == hashlib.sha256(b"first").hexdigest()
    assert house.stored("restaurant_1", upload).read_bytes() == b"first"
    assert len(house.receiver.log_lines(rf"{upload}.*(stored|complete)")) <= 1
    assert len([row for row in house.downloads() if row["requestId"] == upload]) == 1


def test_the_same_id_from_two_clients_makes_two_uploads(house, operator, upload):
    for name in ("restaurant_1", "restaurant_2"):
        path = house.agents[name].file("own", name.encode())
        operator.publish(f"beckon/v1/{name}/cmd/upload/{upload}", command_payload(path))
    for name in ("restaurant_1", "restaurant_2"):
        operator.wait_for(f"beckon/v1/{name}/receipt/{upload}")
        assert house.stored(name, upload).read_bytes() == name.encode()


def test_cancel_that_arrives_first_is_remembered(house, agent, operator, upload):
    path = agent.file("never", b"never")
    operator.publish(f"beckon/v1/restaurant_1/cmd/cancel/{upload}", {})
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(path))
    operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda m: m["state"] == "cancelled")
    assert house.stored("restaurant_1", upload) is None


@pytest.mark.parametrize("payload", [
    b"", b"{", b"[]", b"null", b'"x"', b'{"path":5}', b'{"path":""}', b"{}", b'{"path":"/a\\u0000b"}', b'{"path":"\xff"}',
    b'{"path":"x","max_size":-1}', b'{"path":"x","expires":"soon"}', b'{"path":"x","receiver":"elsewhere"}',
    b'{"path":"' + b"x" * 5000 + b'"}'], ids=lambda payload: repr(payload)[2:30])
def test_bad_command_is_rejected_and_the_agent_goes_on(house, agent, operator, upload, payload):
    before = house.stored_files()
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", payload)
    answer = operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}")
    assert answer["state"] == "rejected"
    assert answer["error"]["code"] in ("invalid_argument", "not_found", "permission_denied"), answer
    assert answer["error"]["reason"] and answer["error"]["message"]
    assert house.stored_files() == before


def test_ticket_smuggles_no_request_into_the_devices_connection(house, agent, operator, upload):
    """An agent without a coordinator's key passes a ticket on as it is, if that is what a ticket looks like."""
    forged = f"PUT /v1/uploads/{upload}-forged HTTP/1.1\r\nHost: receiver\r\nContent-Length: 4\r\n\r\nevil"
    path = agent.file("x", b"the device's own")
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(path, ticket=f"x\r\nContent-Length: 0\r\n\r\n{forged}"))
    status = operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda message: message["state"] not in ("accepted", "running"))
    assert house.stored("restaurant_1", f"{upload}-forged") is None
    assert status["state"] == "rejected" and status["error"]["reason"] == "INVALID_COMMAND", status


def test_command_past_its_expiry_is_rejected(house, agent, operator, upload):
    path = agent.file("late", b"late")
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(path, expires=1000000000))
    answer = operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda m: m["state"] == "rejected")
    assert answer["error"]["code"] == "deadline_exceeded", answer


def test_oversized_and_misaddressed_commands_are_dropped(house, agent, operator, upload):
    known = len(agent.log())
    oversized = b'{"path":"x","pad":"' + b"y" * 17000 + b'"}'  # which the broker already keeps back
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", oversized)
    operator.publish("beckon/v1/restaurant_1/cmd/upload/bad.id", command_payload("x"))
    operator.publish("beckon/v1/restaurant_1/cmd/upload/" + "x" * 65, command_payload("x"))
    good = agent.file("good", b"good")
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}-good", command_payload(good))
    operator.wait_for(f"beckon/v1/restaurant_1/receipt/{upload}-good")
    assert operator.on(f"beckon/v1/restaurant_1/status/{upload}") == []
    told = [line for line in agent.log()[known:].splitlines() if "bad.id" in line or "x" * 30 in line]
    assert len(told) == 2, told


def test_presence_is_retained_and_tells_how_the_agent_is(house, operator):
    presence = operator.wait_for("beckon/v1/restaurant_1/presence", lambda m: m["online"])
    assert presence["version"] and datetime.fromisoformat(presence["since"].replace("Z", "+00:00"))
    assert presence["active"] >= 0 and presence["queued"] >= 0 and presence["labels"] == {}


def test_presence_turns_offline_on_a_clean_end_and_on_a_crash(house, operator):
    agent = house.agents["restaurant_2"]
    topic = "beckon/v1/restaurant_2/presence"
    for end in (agent.stop, agent.kill):
        operator.wait_for(topic, lambda m: m["online"])
        operator.messages.clear()
        end()
        operator.wait_for(topic, lambda m: m == {"online": False})
        house.wait_online("restaurant_2", online=False)
        agent.start()
        house.wait_online("restaurant_2")
