"""Many devices asked for the same file: whom, how fast, how often it may fail, and who sees it."""

import os
import time
from datetime import datetime

from harness.events import EventReader
from harness.tokens import operator_token
from harness.waiting import SANITIZED, wait_until

AGENTS = 8 if SANITIZED else 30
NAMES = [f"restaurant_{number:02d}" for number in range(1, AGENTS + 1)]
PATH = "data.bin"  # below the agents' base folder


def start(house, names, agent=None):
    """Each with a file of its own. Those that are not started were seen once."""
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    house.pki.make_fleet(names)
    contents = {}
    for name in names:
        base = house.folder / name / "files"
        house.start_agent(name, {"files": {"base": base}, **(agent(name) if agent else {})}, wait=False)
        contents[name] = os.urandom(20_000)
        house.agents[name].file(PATH, contents[name])
    wait_until(lambda: set(names) <= house.online(), "all agents to be online")
    return contents


def post(house, token_file=None, headers=None, **body):
    return house.api(token_file).request("POST", "/download", {"fileName": PATH, **body}, headers or {})


def batch(house, batch_id, token_file=None):
    return house.api(token_file).request("GET", f"/batches/{batch_id}").json()


def rows(house, batch_id, **query):
    """All requests of a batch, page by page."""
    found, cursor = [], None
    while True:
        more = "".join(f"&{name}={value}" for name, value in {**query, **({"cursor": cursor} if cursor else {})}.items())
        page = house.api().request("GET", f"/downloads?batch={batch_id}&limit=7{more}").json()
        found += page["downloads"]
        cursor = page["nextCursor"]
        if not cursor:
            return found


def wait_batch(house, batch_id, state, timeout_s=60):
    last = {}

    def reached():
        last.update(batch(house, batch_id))
        return last["state"] == state and last
    return wait_until(reached, lambda: f"the batch to be {state}; it is {last}", timeout_s)


def check_stored(house, batch_id, contents):
    for row in rows(house, batch_id, status="completed"):
        assert house.stored(row["clientId"], row["requestId"]).read_bytes() == contents[row["clientId"]]


def test_a_coordinator_killed_in_the_middle_asks_everybody_once(house):
    contents = start(house, NAMES)
    away = set(NAMES[-3:])
    for name in away:
        house.agents[name].stop()
    broken = NAMES[0]
    (house.folder / broken / "files" / PATH).unlink()
    answer = post(house, clients=["restaurant_*"], ramp=4)
    assert answer.status == 202 and answer.json()["matched"] == AGENTS, answer
    batch_id = answer.json()["batchId"]
    assert answer.headers["location"] == f"/batches/{batch_id}"
    while True:
        counts = batch(house, batch_id)["counts"]
        if counts["unasked"] == 0:
            break
        house.coordinator.kill()
        house.start_coordinator()
        wait_until(lambda before=counts: batch(house, batch_id)["counts"]["unasked"] < before["unasked"], "more to be asked")
    wait_until(lambda: batch(house, batch_id)["counts"]["completed"] == AGENTS - 4, "those at home to be done")
    now = batch(house, batch_id)
    assert now["state"] == "waiting"
    assert now["counts"] == {"unasked": 0, "queued": 3, "running": 0, "completed": AGENTS - 4, "failed": 1}
    for name in away:
        house.agents[name].start()
    done = wait_batch(house, batch_id, "done")
    assert done["counts"] == {"unasked": 0, "queued": 0, "running": 0, "completed": AGENTS - 1, "failed": 1}
    found = rows(house, batch_id)
    assert sorted(row["clientId"] for row in found) == NAMES
    assert all(row["batchId"] == batch_id for row in found)
    assert [row["clientId"] for row in rows(house, batch_id, status="rejected")] == [broken]
    check_stored(house, batch_id, contents)
    assert len(house.stored_files()) == AGENTS - 1


def test_the_ramp_the_events_and_the_limit_of_failures(house):
    names = [f"restaurant_{number:02d}" for number in range(14)]
    start(house, names)
    for name in names:
        (house.folder / name / "files" / PATH).unlink()
    reader = EventReader(house.api())
    began = time.monotonic()
    batch_id = post(house, all=True, ramp=2, maxFailures=4).json()["batchId"]
    wait_batch(house, batch_id, "stopped")
    assert time.monotonic() - began > 1  # two a second, in the ticks of a clock
    wait_until(lambda: not batch(house, batch_id)["counts"]["queued"] and not batch(house, batch_id)["counts"]["running"],
               "those that were asked to have answered")
    counts = batch(house, batch_id)["counts"]
    assert counts["failed"] >= 4
    assert counts["unasked"] == len(names) - counts["failed"] > 0
    asked = sorted(datetime.fromisoformat(row["createdAt"].rstrip("Z")).timestamp() for row in rows(house, batch_id))
    assert all(number < 2 * (at - asked[0]) + 4 for number, at in enumerate(asked)), "two a second, and two for the edges"
    reader.wait("batch", batchId=batch_id, state="stopped")
    told = [event.data["counts"]["unasked"] for event in reader.of("batch", batchId=batch_id)]
    assert told == sorted(told, reverse=True)
    narrow = EventReader(house.api(), f"/events?batchId={batch_id}")
    narrow.wait("batch", batchId=batch_id, state="stopped")
    reader.close()
    narrow.close()
    assert house.cli("cancel", batch_id).returncode == 1


def test_everybody_sees_their_own(house):
    names = ["kiosk_1", "kiosk_2", "shop_1", "shop_2"]
    start(house, names, lambda name: {"labels": {"site": name[-1]}})
    ann = operator_token(house, "ann", "kiosk_*")
    bob = operator_token(house, "bob", "shop_*")
    chief = operator_token(house, "chief", "*", scope="read,pull,admin")
    readers = {user: EventReader(house.api(token)) for user, token in (("ann", ann), ("bob", bob), ("chief", chief))}
    mine = post(house, ann, all=True).json()
    yours = post(house, bob, labels={"site": "1"}).json()
    assert (mine["matched"], yours["matched"]) == (2, 1)
    assert post(house, bob, clients=["kiosk_*"]).json()["reason"] == "NO_CLIENT_MATCHES"
    for user, batch_id in (("ann", mine["batchId"]), ("bob", yours["batchId"])):
        readers[user].wait("batch", batchId=batch_id, state="done")
        readers["chief"].wait("batch", batchId=batch_id, state="done")
    for user, prefix, batch_id in (("ann", "kiosk_", mine["batchId"]), ("bob", "shop_", yours["batchId"])):
        events = list(readers[user].events)
        assert {event.data["batchId"] for event in events if event.kind == "batch"} == {batch_id}
        assert all(event.data["clientId"].startswith(prefix) for event in events if event.kind == "request")
    assert batch(house, mine["batchId"], ann)["createdBy"] == "ann"
    assert house.api(bob).request("GET", f"/batches/{mine['batchId']}").status == 404
    assert house.api(bob).request("DELETE", f"/batches/{mine['batchId']}").status == 404
    assert house.api(bob).request("GET", f"/downloads?batch={mine['batchId']}").json()["count"] == 0
    assert [one["batchId"] for one in house.api(bob).request("GET", "/batches").json()["batches"]] == [yours["batchId"]]
    assert house.api(chief).request("GET", "/batches").json()["count"] == 2
    page = house.api(chief).request("GET", "/batches?limit=1").json()
    rest = house.api(chief).request("GET", f"/batches?limit=1&cursor={page['nextCursor']}").json()
    assert [page["batches"][0]["batchId"], rest["batches"][0]["batchId"]] == [yours["batchId"], mine["batchId"]]
    assert rest["nextCursor"] is None
    for reader in readers.values():
        reader.close()


def test_the_command_line_asks_many_and_brings_their_files(house):
    names = NAMES[:5]
    contents = start(house, names, lambda name: {"labels": {"site": name[-1]}})
    house.agents[names[0]].file("other.bin", b"only one has this")
    folder = house.folder / "here"
    done = house.cli("get", "--clients", "restaurant_*", "--ramp", "100", PATH, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 completed" in done.stderr
    assert {path.parent.name: path.read_bytes() for path in folder.glob("*/data.bin")} == contents
    one = house.cli("get", "--label", "site=1", PATH, "-o", folder)
    assert one.returncode == 0 and "1 of 1 completed" in one.stderr, one.stderr
    some = house.cli("get", "--all", "other.bin", "-o", folder)
    assert some.returncode == 1, some.stderr
    assert "1 of 5 completed, 4 failed" in some.stderr
    assert f"{names[1]}  rejected: " in some.stderr and "FILE_NOT_FOUND" in some.stderr
    assert (folder / names[0] / "other.bin").read_bytes() == b"only one has this"
    batch_id = house.cli("get", "--all", PATH, "--no-wait").stdout.strip()
    watched = house.cli("watch", batch_id)
    assert watched.returncode == 0 and f"{batch_id}  done  5 of 5 completed" in watched.stdout
    assert "5 of 5 completed" in house.cli("status", batch_id).stdout
    listed = house.cli("batches").stdout
    assert len(listed.splitlines()) == 5 and batch_id in listed
    assert house.cli("downloads", "--batch", batch_id).stdout.count("completed") == 5
    for words in (["--all", "--clients", "x"], ["--label", "site"], ["--all", "--ramp", "0"], ["--all", "-o", "-"],
                  ["--clients", "a b"], ["--all", "--timeout", "1s"]):
        assert house.cli("get", *words, PATH).returncode == 2
    nobody = house.cli("get", "--clients", "nobody*", PATH)
    assert nobody.returncode == 3 and "No device" in nobody.stderr


def test_cancelling_a_batch_ends_it_for_everybody(house):
    names = NAMES[:4]
    start(house, names)
    for name in names:
        house.agents[name].stop()
    batch_id = post(house, all=True, ramp=1).json()["batchId"]
    wait_until(lambda: batch(house, batch_id)["counts"]["queued"] > 0, "somebody to be asked")
    done = house.cli("cancel", batch_id)
    assert done.returncode == 0, done.stderr
    now = batch(house, batch_id)
    assert now["state"] == "cancelled"
    wait_until(lambda: all(row["cancelRequested"] for row in rows(house, batch_id)), "the cancels to be noted")
    house.coordinator.kill()
    house.start_coordinator()
    for name in names:
        house.agents[name].start()
    asked = now["counts"]["queued"]
    wait_until(lambda: batch(house, batch_id)["counts"]["failed"] == asked, "the asked ones to be cancelled")
    assert batch(house, batch_id)["counts"]["unasked"] == len(names) - asked
    assert {row["status"] for row in rows(house, batch_id)} == {"cancelled"}
    assert not house.stored_files()


def test_mistakes_are_explained_and_a_key_makes_one_batch(house):
    start(house, ["restaurant_1"])
    for body in ({"clients": []}, {"clients": "x"}, {"clients": ["a/b"]}, {"clients": ["x"] * 65}, {"labels": {}},
                 {"labels": {"a": 1}}, {"all": False}, {"all": True, "clients": ["*"]}, {"all": True, "clientId": "restaurant_1"},
                 {"all": True, "ramp": 0}, {"all": True, "ramp": 1001}, {"all": True, "maxFailures": 0},
                 {"all": True, "fileName": ""}, {"all": None}):
        answer = post(house, **body)
        assert answer.status == 400, (body, answer)
        assert answer.json()["message"]
    assert post(house, clients=["nobody*"]).status == 404
    key = {"Idempotency-Key": "once"}
    first, again = post(house, headers=key, all=True), post(house, headers=key, all=True)
    assert first.json() == again.json()
    other = post(house, headers=key, all=True, ramp=3)
    assert (other.status, other.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert house.api().request("GET", "/batches").json()["count"] == 1
    assert house.api().request("GET", "/batches/nothing").json()["reason"] == "UNKNOWN_BATCH"
    assert house.api().request("GET", "/batches?limit=0").status == 400
    assert house.api().request("GET", "/batches?cursor=nothing").status == 400
