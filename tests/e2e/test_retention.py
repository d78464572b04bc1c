"""What is stored is kept as long as it should be: by age, count and bytes; and removed when an administrator says so, by
a signed command and not otherwise. What is removed leaves its record."""

import json
import os
import sqlite3
import subprocess
import time

import pytest
from harness.figures import wait_figure
from harness.house import BIN
from harness.process import environment
from harness.tokens import operator_token, ticket
from harness.waiting import wait_until

NAME = "restaurant_1"


def get(house, name=NAME, size=1000):
    """A completed request, and its content."""
    data = os.urandom(size)
    path = house.agents[name].file(f"file-{os.urandom(4).hex()}", data)
    request = house.ask(name, path)
    house.wait_status(request, "completed")
    return request, data, path


def record(house, request, name=NAME):
    return json.loads((house.store / name / f"{request}.json").read_text())


def is_gone(house, request, name=NAME):
    return not (house.store / name / request).exists()


def make_older(house, request, seconds, name=NAME):
    """As if it had come so long before; while the receiver is stopped."""
    path = house.store / name / f"{request}.json"
    path.write_text(json.dumps({**record(house, request, name), "receivedUnix": int(time.time()) - seconds}))


def restart_receiver(house, **retention):
    house.receiver.stop()
    port = house.receiver_port
    sections = {"receiver": {"port": port}}
    for name, value in retention.items():
        section, _, key = name.rpartition("_")
        if isinstance(value, dict):
            sections[f"retention.{key}"] = value
        else:
            sections.setdefault("retention", {})[key] = value
    house.start_receiver(sections)
    house.receiver_port = port
    return port


def audit(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rm_removes_the_file_and_keeps_its_record(house):
    lines = house.folder / "audit.log"
    house.start(receiver={"receiver": {"audit_file": lines}},
                coordinator={"coordinator": {"audit_file": house.folder / "coordinator-audit.log"}})
    request, data, path = get(house)
    other, _, _ = get(house)
    carl = operator_token(house, "carl", "*", scope="read,pull")
    chief = operator_token(house, "chief", "*", scope="read,pull,admin")
    refused = house.api(carl).request("DELETE", f"/download/{request}/content")
    assert (refused.status, refused.json()["reason"]) == (403, "INSUFFICIENT_SCOPE")
    done = house.cli("--token-file", chief, "rm", request)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: house.request_row(request)["removedAt"], "the removal to be known")
    assert is_gone(house, request)
    assert not is_gone(house, other)
    row = house.request_row(request)
    assert row["status"] == "completed" and row["sha256"]
    assert [step["event"] for step in row["history"]][-2:] == ["removal asked", "removed"]
    assert record(house, request)["removedUnix"]
    # nothing can be fetched any more, and everybody says why
    gone = house.api().request("GET", f"/download/{request}/content")
    assert (gone.status, gone.json()["reason"]) == (410, "CONTENT_REMOVED")
    gone = house.https(house.pki.client(NAME)).request("GET", f"/v1/uploads/{request}")
    assert (gone.status, gone.json()["reason"]) == (410, "CONTENT_REMOVED")
    assert house.api().request("DELETE", f"/download/{request}/content").status == 202
    # a repeat of the upload does not look new
    device = house.https(house.pki.client(NAME))
    head = device.request("HEAD", f"/v1/uploads/{request}")
    assert head.status == 204 and head.headers["upload-complete"] == "?1"
    assert device.request("PUT", f"/v1/uploads/{request}", data, {"Upload-Complete": "?1"}).status == 201
    assert device.request("PUT", f"/v1/uploads/{request}", b"another", {"Upload-Complete": "?1"}).status == 409
    patch = device.request("PATCH", f"/v1/uploads/{request}", data[500:],
                           {"Content-Type": "application/partial-upload", "Upload-Offset": "500", "Upload-Complete": "?1"})
    assert patch.status == 410
    assert is_gone(house, request)
    line = [line for line in audit(lines) if line["what"] == "remove"]
    assert [(one["user"], one["client"], one["id"], one["file"]) for one in line] == [("chief", NAME, request, str(path))]
    asked = [one for one in audit(house.folder / "coordinator-audit.log") if one["what"].startswith("DELETE")]
    assert [(one["user"], one["status"]) for one in asked][:2] == [("carl", 403), ("chief", 202)]


def test_what_is_not_completed_can_not_be_removed(house):
    house.start()
    request = house.ask(NAME, house.agents[NAME].files / "nothing")
    house.wait_status(request, "rejected")
    answer = house.api().request("DELETE", f"/download/{request}/content")
    assert (answer.status, answer.json()["reason"]) == (409, "NOT_COMPLETED")
    assert "ask for the file again" in answer.json()["message"]
    assert house.cli("rm", request).returncode == 1
    assert house.api().request("DELETE", "/download/nothing/content").status == 404


def test_a_removal_is_asked_for_until_the_receiver_has_done_it(house):
    house.start()
    request, _, _ = get(house)
    house.receiver.stop()
    assert house.api().request("DELETE", f"/download/{request}/content").status == 202
    house.coordinator.kill()
    house.start_coordinator()
    port = house.receiver_port
    house.start_receiver({"receiver": {"port": port}})
    wait_until(lambda: house.request_row(request)["removedAt"], "the removal to be done", 60)
    assert is_gone(house, request)


def test_who_can_only_publish_removes_nothing(house):
    """A broker in wrong hands: it can say anything on cmd/remove, and answer in the receiver's place."""
    house.start()
    request, data, path = get(house)
    other, _, other_path = get(house)
    broker = house.observer("coordinator")  # may write cmd/#

    def say(payload, upload=request):
        broker.publish(f"beckon/v1/{NAME}/cmd/remove/{upload}", payload if isinstance(payload, str) else json.dumps(payload))

    pki = house.pki
    for payload in ("", "{}", "[]", {"ticket": ""}, {"ticket": "x.y.z"},
                    {"ticket": ticket(pki, NAME, request, path)},
                    {"ticket": ticket(pki, NAME, request, path, scope="download")},
                    {"ticket": ticket(pki, NAME, request, path, scope="remove", key="receiver")},
                    {"ticket": ticket(pki, NAME, request, path, scope="remove", exp=int(time.time()) - 1)},
                    {"ticket": ticket(pki, "restaurant_2", request, path, scope="remove")},
                    {"ticket": ticket(pki, NAME, other, other_path, scope="remove")}):
        say(payload)
    good = ticket(pki, NAME, other, other_path, scope="remove")
    say({"ticket": good}, other)
    wait_until(lambda: is_gone(house, other), "the one that is allowed to go")
    assert house.stored(NAME, request).read_bytes() == data
    # a replay is harmless
    at = record(house, other)["removedUnix"]
    say({"ticket": good}, other)
    # and nobody but the receiver can say that something was removed
    liar = house.observer("receiver")
    liar.publish(f"beckon/v1/{NAME}/removed/{request}", json.dumps({"removal": "x.y.z", "at": "2026-11-21T11:06:04Z"}))
    house.coordinator.wait_log("a removal that proves nothing")
    assert house.request_row(request)["removedAt"] is None
    assert record(house, other)["removedUnix"] == at


def test_old_files_go_by_age_and_the_coordinator_is_told(house):
    house.start()
    old, _, _ = get(house)
    young, _, _ = get(house)
    house.receiver.stop()
    make_older(house, old, 7200)
    restart_receiver(house, retention_age="1h")
    wait_until(lambda: is_gone(house, old), "the old one to go")
    wait_until(lambda: house.request_row(old)["removedAt"], "the coordinator to hear of it")
    assert not is_gone(house, young)
    assert house.request_row(young)["removedAt"] is None


def test_what_went_while_the_broker_was_away_is_told_when_it_is_back(house):
    house.start()
    old, *_ = get(house)
    house.receiver.stop()
    make_older(house, old, 7200)
    house.broker.stop()
    restart_receiver(house, retention_age="1h")
    wait_until(lambda: is_gone(house, old), "the old file to go")
    wait_figure(house.https(house.pki.service("operator")), "beckon_removals_waiting", 1)
    house.receiver.kill()
    house.broker.start()
    restart_receiver(house)
    wait_until(lambda: house.request_row(old)["removedAt"], "the coordinator to know of it")
    wait_figure(house.https(house.pki.service("operator")), "beckon_removals_waiting", 0)


def test_only_so_many_and_so_much_of_a_client_are_kept(house):
    house.start(agents=["restaurant_1", "kiosk_1"])
    mine = [get(house, size=1000)[0] for _ in range(5)]
    theirs = [get(house, "kiosk_1", size=1000)[0] for _ in range(5)]
    house.receiver.stop()
    for age, (one, two) in enumerate(zip(reversed(mine), reversed(theirs))):
        make_older(house, one, 10 * age)
        make_older(house, two, 10 * age, "kiosk_1")
    port = house.receiver_port
    house.start_receiver({"receiver": {"port": port}, "retention": {"count": "3"}, "retention.bytes": {"kiosk_*": "1K"},
                          "retention.count": {"kiosk_?": "0"}})
    wait_until(lambda: is_gone(house, mine[1]) and is_gone(house, theirs[3], "kiosk_1"), "the oldest to go")
    assert [is_gone(house, one) for one in mine] == [True, True, False, False, False]
    assert [is_gone(house, one, "kiosk_1") for one in theirs] == [True, True, True, True, False]


def test_nothing_goes_before_its_receipt_is_delivered(house):
    house.start()
    house.broker.kill()
    upload = "before-its-receipt"
    device = house.https(house.pki.client(NAME))
    assert device.request("PUT", f"/v1/uploads/{upload}", b"content").status == 201
    house.receiver.stop()
    make_older(house, upload, 7200)
    port = house.receiver_port
    house.start_receiver({"receiver": {"port": port}, "retention": {"age": "1h"}})
    time.sleep(5)  # longer than it takes to the first sweep
    assert not is_gone(house, upload)
    house.broker.start()
    wait_until(lambda: not list((house.store / ".outbox").glob("*.receipt")), "the receipt to be delivered")
    restart_receiver(house, retention_age="1h")
    wait_until(lambda: is_gone(house, upload), "it to go now")


def make_history_older(house, days):
    """{request: days} As if they had ended so long ago; while the coordinator is stopped."""
    with sqlite3.connect(house.folder / "coordinator.db") as database:
        for request, age in days.items():
            database.execute("UPDATE requests SET updated_at = ? WHERE id = ?", (int((time.time() - age * 86400) * 1000), request))
    database.close()


@pytest.mark.parametrize("age_days, kept", [(9, True), (11, False)])
def test_requests_that_ended_long_ago_are_forgotten(house, age_days, kept):
    house.start()
    request, _, _ = get(house)
    house.coordinator.stop()
    make_history_older(house, {request: age_days})
    house.start_coordinator({"retention": {"history_age": "10d"}})
    if kept:
        time.sleep(3)
        assert house.request_row(request)
    else:
        wait_until(lambda: house.request_row(request) is None, "the request to be forgotten")
    assert house.stored(NAME, request)


def test_history_is_kept_by_the_rules_for_each_client(house):
    names = ["restaurant_1", "kiosk_1", "kiosk_2", "kiosk_3"]
    house.start(agents=names)
    rows = {name: [get(house, name)[0] for _ in range(3)] for name in names}
    house.coordinator.stop()
    make_history_older(house, {row: 12.5 - at for asked in rows.values() for at, row in enumerate(asked)})
    house.start_coordinator({"retention": {"history_age": "11d"},
                             "retention.history_age": {"kiosk_1": "0", "kiosk_2": "240h", "kiosk_*": "0"},
                             "retention.history_count": {"kiosk_?": "2", "*": "0"}})
    kept = {"restaurant_1": [False, False, True], "kiosk_1": [False, True, True], "kiosk_2": [False, False, False],
            "kiosk_3": [False, True, True]}
    wait_until(lambda: {name: [house.request_row(row) is not None for row in asked] for name, asked in rows.items()} == kept,
               lambda: f"what is kept to be {kept}")
    shown = json.loads(subprocess.run([BIN / "beckon-coordinator", "--config", house.folder / "coordinator.conf", "--show-config"],
                                      capture_output=True, text=True, env=environment(), check=True).stdout)
    assert shown["retention.history_count"] == {"kiosk_?": "2", "*": "0"}


def test_mistakes_in_the_rules_are_explained(house):
    house.start_broker()
    for sections, word in (({"retention": {"age": "soon"}}, "age"), ({"retention.age": {"restaurant_*": "soon"}}, "retention.age"),
                           ({"retention.count": {"a/b": "1"}}, "retention.count"),
                           ({"retention.bytes": {"kiosk_*": "many"}}, "retention.bytes")):
        with pytest.raises(AssertionError):
            house.start_receiver(sections)
        assert word in house.daemons[-1].log()
        house.daemons.pop()
