"""One batch over a whole fleet of real agents: every file arrives, the page follows it, and the coordinator stays quick and
small meanwhile.

BECKON_E2E_LONG=1 runs it with a thousand agents, in a few minutes, and holds it to what we promise."""

import hashlib
import json
import os
import subprocess
from collections import Counter
from datetime import datetime

import pytest

from harness import contract
from harness.browser import Browser, install
from harness.process import cpu_seconds
from harness.prober import Prober, percentile
from harness.tokens import operator_token
from harness.waiting import LONG, SANITIZED, wait_until

AGENTS = 1000 if LONG else 12 if SANITIZED else 40
RAMP = 50 if LONG else 5
SIZE = 20_000
P99_MS = 50
RSS_KB = 64 * 1024
NORTH, SOUTH = ([f"{side}_{number}" for number in range(AGENTS // 2)] for side in ("north", "south"))
BEFORE_ALL = ["nice", "-n", "-15"] if os.geteuid() == 0 else []
QUIET = {"log": {"level": "info"}}


class Watcher:
    """`curl` on /events, as a user: cheap enough to be no burden to what is measured."""

    def __init__(self, house, name, token_file):
        self.path = house.folder / f"{name}.events"
        house.folder.joinpath(f"{name}.curlrc").write_text(
            f"cacert = {house.pki.ca}\noauth2-bearer = {token_file.read_text().strip()}\nurl = {house.coordinator_url}/events\n")
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(["curl", "-sSN", "-K", house.folder / f"{name}.curlrc"], stdout=out, stdin=subprocess.DEVNULL)
        wait_until(lambda: b"retry:" in self.path.read_bytes(), "the events to begin")

    def events(self):
        """[(kind, data)] so far."""
        blocks = self.path.read_text().split("\n\n")[:-1]
        fields = [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line) for block in blocks]
        return [(one["event"], json.loads(one["data"])) for one in fields if "event" in one]

    def of(self, kind):
        return [data for seen, data in self.events() if seen == kind]

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def house(shared_house):
    """The devices give way to all, and all to the coordinator: in life each is a machine of its own."""
    house = shared_house
    house.launch["agent"] = (["nice", "-n", "19"], {})
    house.launch["coordinator"] = (BEFORE_ALL, {})
    house.start_broker()
    house.start_receiver(QUIET)
    house.start_coordinator(QUIET)
    house.start_fleet(NORTH + SOUTH, {"mqtt": {"keepalive": "60s"}, **QUIET})
    house.contents = {name: os.urandom(SIZE) for name in NORTH + SOUTH}
    for name, data in house.contents.items():
        house.agents[name].file("data.bin", data)
    yield house
    house.stop_fleet()


def begin(house, token_file=None, **whom):
    answer = house.api(token_file).request("POST", "/download", {"fileName": "data.bin", "ramp": RAMP, **whom})
    assert answer.status == 202, answer
    return answer.json()["batchId"]


def wait_done(house, batch):
    def done():
        seen.update(house.api().request("GET", f"/batches/{batch}").json())
        return seen["state"] == "done"
    seen = {}
    wait_until(done, lambda: f"the batch to be done; it is {seen}", 600, every_s=0.5)
    return seen


def rows_of(house, batch):
    """All requests of a batch, page by page."""
    rows, cursor = [], ""
    while cursor is not None:
        page = house.api().request("GET", f"/downloads?batch={batch}&limit=500{cursor and '&cursor='}{cursor}").json()
        rows += page["downloads"]
        cursor = page["nextCursor"]
    return rows


def peak_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def assert_small(house):
    if not SANITIZED:
        assert peak_kb(house.coordinator.pid) < RSS_KB


def assert_ramp_held(rows):
    """At no time were more asked than the ramp lets through from then on, and once again at its edge."""
    level, last = 0, 0
    for at in sorted(datetime.fromisoformat(row["createdAt"].rstrip("Z")).timestamp() for row in rows):
        level, last = max(0, level - RAMP * (at - last)) + 1, at
        assert level <= 1.2 * RAMP, (RAMP, Counter(row["createdAt"] for row in rows))


def report_lists(took):
    for path, values in took.items():
        print(f"GET {path}: {len(values)} answers, median {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms,"
              f" longest {values[-1]:.1f} ms")


def report(house, rows, took, cpu_s):
    seconds = Counter(row["createdAt"][:19] for row in rows)
    print(f"\n{len(rows)} devices, asked in {len(seconds)} s, at most {max(seconds.values())} in one;"
          f" from the first to the last {min(row['createdAt'] for row in rows)[11:]} {max(row['completedAt'] for row in rows)[11:]}")
    report_lists(took)
    print(f"coordinator: {peak_kb(house.coordinator.pid) / 1024:.1f} MB at its peak, {cpu_s:.1f} s of CPU")


def test_a_batch_over_all_devices_brings_every_file_while_lists_stay_quick(house):
    cpu_s = cpu_seconds(house.coordinator.pid)
    prober = house.closing(Prober(house, BEFORE_ALL, "/clients", "/downloads"))
    batch = begin(house, all=True)
    assert wait_done(house, batch)["counts"] == {"unasked": 0, "queued": 0, "running": 0, "completed": AGENTS, "failed": 0}
    took = prober.finish()
    rows = rows_of(house, batch)
    report(house, rows, took, cpu_seconds(house.coordinator.pid) - cpu_s)
    assert sorted(row["clientId"] for row in rows) == sorted(house.contents)
    for row in rows:
        data = house.contents[row["clientId"]]
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert house.stored(row["clientId"], row["requestId"]).read_bytes() == data
    assert_ramp_held(rows)
    assert_small(house)
    if LONG:
        assert all(percentile(values, 0.99) < P99_MS for values in took.values())


WATCH = """await page.evaluate(() => {
    window.seen = [];
    window.busy = [];
    new MutationObserver(() => window.seen.push(document.querySelector(".panel .figures")?.textContent))
        .observe(document.body, { subtree: true, childList: true, characterData: true });
    new PerformanceObserver((list) => window.busy.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
})"""


def test_the_page_follows_a_batch_that_it_began_while_lists_stay_quick(house, tmp_path):
    page = house.closing(Browser(install(tmp_path), house, launch=["nice", "-n", "5"]))
    page.log_in(house.token)
    page.go("#/batches")
    page.run("await page.locator('#kind').selectOption('all')")
    page.sees(f"text=Ask {AGENTS} devices ({AGENTS} online)")
    page.fill("#batch-path", "data.bin")
    page.fill("#ramp", str(RAMP))
    page.run(WATCH)
    prober = house.closing(Prober(house, BEFORE_ALL, "/clients", "/downloads"))
    page.click(f"text=Ask {AGENTS} devices")
    page.sees(".panel .figures")
    batch = page.run("return page.url()").rsplit("/", 1)[1]
    wait_done(house, batch)
    page.sees(f"text={AGENTS} completed of {AGENTS}")
    took = prober.finish()
    shown = page.run("return page.evaluate(() => window.seen.filter((text, at) => text && text !== window.seen[at - 1]))")
    busy_ms = page.run("return page.evaluate(() => Math.max(0, ...window.busy))")
    print(f"\nthe page showed {len(shown)} steps, from '{shown[0]}' to '{shown[-1]}'; it was never busy for longer than {busy_ms:.0f} ms")
    report_lists(took)
    completed = [int(text.split(" completed")[0]) if " completed" in text else 0 for text in shown]
    assert completed == sorted(completed) and completed[-1] == AGENTS
    assert len(set(completed)) > AGENTS / RAMP / 4, "a step every fourth second at least"
    assert page.faults() == []
    assert_ramp_held(rows_of(house, batch))
    assert_small(house)
    if LONG:
        assert all(percentile(values, 0.99) < P99_MS for values in took.values())


def test_each_user_sees_the_events_of_his_own_devices_only(house):
    admin = operator_token(house, "admin", "*", scope="admin")
    users = {side: operator_token(house, side, f"{side}_*") for side in ("north", "south")}
    watchers = {side: house.closing(Watcher(house, side, token)) for side, token in users.items()}
    watchers["admin"] = house.closing(Watcher(house, "admin", admin))
    of_all, of_north = begin(house, admin, all=True), begin(house, users["north"], clients=["*"])
    house.agents["south_0"].restart()
    wait_done(house, of_all)
    wait_done(house, of_north)
    house.wait_online("south_0")
    for side, names in (("north", NORTH), ("south", SOUTH)):
        wait_until(lambda: completed(watchers[side], of_all) == sorted(names), lambda: f"{side} to see all its files complete", every_s=0.5)
        assert {data["clientId"] for data in watchers[side].of("request")} == set(names)
    wait_until(lambda: completed(watchers["admin"], of_all) == sorted(NORTH + SOUTH), "the administrator to see all", every_s=0.5)
    wait_until(lambda: watchers["south"].of("client"), "south to see its device come again")
    assert {data["id"] for data in watchers["south"].of("client")} == {"south_0"}
    assert not watchers["north"].of("client")
    assert {data["batchId"] for data in watchers["north"].of("batch")} == {of_north}
    assert not watchers["south"].of("batch")
    assert {data["batchId"] for data in watchers["admin"].of("batch")} >= {of_all, of_north}
    for watcher in watchers.values():
        assert not watcher.of("reset")
        for kind, data in watcher.events()[::10]:
            contract.check_event(kind, data)
    for batch in (of_all, of_north):
        assert_ramp_held(rows_of(house, batch))
    assert_small(house)


def completed(watcher, batch):
    return sorted(data["clientId"] for data in watcher.of("request") if data["status"] == "completed" and data["batchId"] == batch)


