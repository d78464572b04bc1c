"""Everything that was ever tried to get a file out that must not leave, as commands to real agents: not a byte of it leaves.

The cases are in harness/hostile_paths.py. Each device has a canary; in the end its bytes are searched for in everything that the
agents have sent, said and written."""

import ctypes
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from itertools import chain

import pytest

from harness import hostile_paths as hostile
from harness.hostile_paths import ANYTHING, DENY, SENT, Device
from harness.house import command_payload
from harness.process import environment
from harness.waiting import wait_until

CANARY = b"canary" + os.urandom(16).hex().encode()
CONTENT = CANARY * 200
AT_ONCE = 150  # commands in flight: fewer than the agents' queues and the broker's hold
GROUPS = ["traversal", "spelling", "length", "encoding", "link", "kernel", "kind", "name", "deny", "hard link", "owner", "own key", "mount"]
WITHOUT_OPENAT2 = [sys.executable, "-B", hostile.__file__.replace("hostile_paths", "without_openat2")]
IN_OWN_MOUNTS = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount", "--propagation", "private"]
MOUNTS = """mount --bind ../secret bound && mount --bind ../secret sub/bound && mount --bind ../secret/canary bound-file &&
    mount -t tmpfs none disk && cp ../secret/canary disk/x"""
KERNEL_MOUNTS = "mount --rbind /proc kernel/proc && mount --rbind /sys kernel/sys"
RENAME_EXCHANGE, AT_FDCWD = 2, -100

can_mount = subprocess.run([*IN_OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode == 0
can_chown = os.geteuid() == 0


def start_device(house, name, files=None, prefix=()):
    house.launch["agent"] = (list(prefix), {})
    agent = house.start_agent(name, {"agent": {"queue": 500, "concurrency": 4}, "files": files or {}})
    del house.launch["agent"]
    return Device(agent, CONTENT)


def start_mounted(house, name, mounts, files_section=None):
    """A device that sees something else at some of its folders; the shell's words are run in the one with its files."""
    files = house.folder / name / "files"
    for folder in ("bound", "sub/bound", "disk", "kernel/proc", "kernel/sys", "../secret"):
        (files / folder).mkdir(parents=True)
    (files / "bound-file").touch()
    (files / "../secret/canary").write_bytes(CONTENT)
    back = ' && cd "$1" && shift && exec "$@"'
    return start_device(house, name, files_section, [*IN_OWN_MOUNTS, "sh", "-c", f'cd "$0" && {mounts}{back}', files, house.folder])


@pytest.fixture(scope="module")
def devices(shared_house):
    house = shared_house
    house.start_broker()
    house.start_receiver()

    def deny(name):
        return [pattern.format(files=house.folder / name / "files") for pattern in DENY]
    found = {
        "plain": start_device(house, "plain", {"max_size": "1M"}),
        "old-kernel": start_device(house, "old-kernel", {"max_size": "1M", "deny": deny("old-kernel")}, WITHOUT_OPENAT2),
        "follows": start_device(house, "follows", {"follow_symlinks": "yes", "deny": deny("follows")}),
        "guarded": start_device(house, "guarded", {"single_link": "yes", "owner": os.getuid(), "deny": deny("guarded")}),
        "everything": start_device(house, "everything", {"allow": "/", "follow_symlinks": "yes"}),
    }
    if can_mount:
        found["mounted"] = start_mounted(house, "mounted", MOUNTS, {"one_file_system": "yes"})
        found["shows-kernel"] = start_mounted(house, "shows-kernel", KERNEL_MOUNTS)
    return found


def make_cases(house, devices, shm):
    plain, old, follows, guarded = (devices[name] for name in ("plain", "old-kernel", "follows", "guarded"))
    yield from hostile.traversals(plain)
    for device in (plain, old):
        yield from hostile.spellings(device)
        yield from hostile.links(device)
        yield from hostile.kinds(device)
    yield from hostile.lengths(plain)
    yield from hostile.encodings(plain)
    yield from hostile.names(follows)
    yield from hostile.links(follows, follows=True)
    for device in (plain, devices["everything"]):
        yield from hostile.kernel_files(device, shm)
    yield from hostile.denied(old)
    yield from hostile.denied(guarded)
    yield from hostile.denied(follows, follows=True)
    yield from hostile.hard_links(guarded)
    yield from hostile.own_key(devices["everything"], house.pki.client("everything")[1])
    if can_chown:
        yield from hostile.owners(guarded)
    if can_mount:
        yield from hostile.mounts(devices["mounted"])
        yield from hostile.kernel_mounts(devices["shows-kernel"])


def is_final(message):
    return message["state"] in ("done", "rejected", "failed", "cancelled")


class Answers:
    """What the agents say to the commands of a list of cases, in the same order."""

    def __init__(self, operator, prefix):
        self.operator, self.prefix, self.read, self.final = operator, prefix, 0, {}

    def ask(self, cases):
        for begin in range(0, len(cases), AT_ONCE):
            batch = cases[begin:begin + AT_ONCE]
            for number, case in enumerate(batch, begin):
                self.operator.publish(f"beckon/v1/{case.agent}/cmd/upload/{self.prefix}{number}", case.payload)
            wait_until(lambda: self.hear() >= begin + len(batch), lambda: f"answers to {self.missing(cases, begin)}", 60)
        return [self.final[f"{self.prefix}{number}"] for number in range(len(cases))]

    def hear(self):
        messages = self.operator.messages[self.read:]
        self.read += len(messages)
        for topic, payload in messages:
            message, upload = json.loads(payload), topic.rpartition("/")[2]
            if "/status/" in topic and upload.startswith(self.prefix) and is_final(message):
                self.final[upload] = message
        return len(self.final)

    def missing(self, cases, begin):
        return [case for number, case in enumerate(cases[begin:begin + AT_ONCE], begin) if f"{self.prefix}{number}" not in self.final]


@pytest.fixture(scope="module")
def answers(shared_house, devices):
    """[(id, case, final status)]"""
    shm = f"/dev/shm/beckon-{os.getpid()}"
    with open(shm, "wb") as file:
        file.write(CONTENT)
    try:
        cases = list(make_cases(shared_house, devices, os.path.basename(shm)))
        statuses = Answers(shared_house.observer(), "case-").ask(cases)
    finally:
        os.unlink(shm)
    print(f"{len(cases)} cases: {dict(Counter(case.group for case in cases))}")
    return [(f"case-{number}", case, status) for number, (case, status) in enumerate(zip(cases, statuses))]


def fault(house, upload, case, status):
    """None, or what is not as it was wanted."""
    stored = house.stored(case.agent, upload)
    if case.wanted == SENT:
        if status["state"] != "done":
            return "was not sent"
        return None if stored and stored.read_bytes() == case.content else "arrived as something else"
    if case.wanted == ANYTHING:
        return None
    if stored or status["state"] != "rejected":
        return "was sent"
    return None if status["error"]["reason"] in case.wanted else f"was refused with {status['error']}"


@pytest.mark.parametrize("group", GROUPS)
def test_only_what_is_allowed_is_sent(shared_house, answers, group):
    mine = [(case, fault(shared_house, upload, case, status)) for upload, case, status in answers if case.group == group]
    if not mine:
        pytest.skip("only root may give a file to another user" if group == "owner" else "mounts can't be made here")
    wrong = [(case.agent, case.payload[:200], what) for case, what in mine if what]
    assert not wrong, f"{len(wrong)} of {len(mine)}: {wrong[:20]}"


def test_these_are_more_than_five_hundred_and_most_are_refused(answers):
    assert sum(status["state"] == "rejected" for _, _, status in answers) > 1000
    assert {case.agent for _, case, status in answers if status["state"] == "done"} >= {"plain", "old-kernel", "follows", "guarded"}


def leaks(house, token):
    """Files with token in them, among all that came from an agent: the receiver's store with its parts, what the broker keeps, what
    the agents remember, and every log."""
    from_agents = chain(house.store.rglob("*"), (house.folder / "broker").rglob("*"), house.folder.glob("*/state/**/*"),
                        house.folder.glob("*.log"))
    return [path for path in from_agents if path.is_file() and token in path.read_bytes()]


def assert_no_leak(house, observer=None):
    assert not leaks(house, CANARY)
    assert not [topic for topic, payload in (observer.messages if observer else ()) if CANARY in payload]


def test_a_sent_file_is_found_where_the_canary_is_searched_for(shared_house, devices):
    token = b"parrot" + os.urandom(16).hex().encode()
    (devices["plain"].files / "parrot").write_bytes(token * 10)
    case = devices["plain"].case("", "parrot", SENT)
    assert Answers(shared_house.observer(), "parrot-").ask([case])[0]["state"] == "done"
    assert [path.parent.name for path in leaks(shared_house, token)] == ["parrot-0"]


def exchange_forever(a, b, stop, count):
    libc = ctypes.CDLL(None, use_errno=True)
    while not stop.is_set():
        if libc.renameat2(AT_FDCWD, bytes(a), AT_FDCWD, bytes(b), RENAME_EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")
        count.append(1)


@pytest.mark.parametrize("name", ["plain", "old-kernel", "follows"])
def test_a_folder_that_turns_into_a_link_and_back_gives_its_own_file_or_nothing(shared_house, devices, name):
    device = devices[name]
    device.good("swap/canary")
    device.link("swap-link", "../secret")
    stop, count = threading.Event(), []
    swapper = threading.Thread(target=exchange_forever, args=(device.files / "swap", device.files / "swap-link", stop, count))
    swapper.start()
    answers = Answers(shared_house.observer(), f"swap-{name}-")
    asked = [device.case("", "swap/canary", ANYTHING)] * 60
    try:
        statuses = answers.ask(asked)
    finally:
        stop.set()
        swapper.join()
    ends = Counter(status["error"]["reason"] if "error" in status else status["state"] for status in statuses)
    print(f"{name}: {len(count)} swaps, {dict(ends)}")
    assert set(ends) <= {"done", "PATH_NOT_ALLOWED", "FILE_MOVING"} and len(count) > 100, ends
    for number in range(len(asked)):
        stored = shared_house.stored(device.name, f"swap-{name}-{number}")
        assert stored is None or stored.read_bytes() == b"good swap/canary\n"
    assert_no_leak(shared_house)


def test_a_file_that_was_replaced_by_a_link_while_the_agent_was_off_is_not_sent(shared_house, devices, upload):
    """The path is needed again then; the answer is a new one."""
    device, observer = devices["plain"], shared_house.observer()
    path = device.files / "replaced"
    path.write_bytes(bytes(len(CONTENT)))
    when = path.stat()
    shared_house.receiver.stop()
    observer.publish(f"beckon/v1/plain/cmd/upload/{upload}", command_payload(path))
    observer.wait_for(f"beckon/v1/plain/status/{upload}", lambda status: status["state"] == "running" and "error" in status)
    device.agent.kill()
    path.unlink()
    path.symlink_to(device.canary)
    os.utime(device.canary, ns=(when.st_atime_ns, when.st_mtime_ns))
    shared_house.receiver.start()
    device.agent.start()
    ended = observer.wait_for(f"beckon/v1/plain/status/{upload}", is_final)
    assert (ended["state"], ended["error"]["reason"]) == ("failed", "PATH_NOT_ALLOWED"), ended
    assert shared_house.stored("plain", upload) is None


@pytest.mark.skipif(not can_mount, reason="mounts can't be made here")
def test_mounts_in_somebodys_own_namespace_change_nothing(shared_house, devices):
    device = devices["plain"]
    (device.files / "shadow").mkdir()
    mount = 'mount --bind "$0" "$1" && cmp "$0/canary" "$1/canary" && echo mounted && read -r _'
    other = subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, device.canary.parent,
                              device.files / "shadow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
    try:
        if other.stdout.readline() != b"mounted\n":
            pytest.skip("no user namespaces here")
        status = Answers(shared_house.observer(), "shadow-").ask([device.case("", "shadow/canary", ANYTHING)])[0]
    finally:
        other.communicate(b"\n")
    assert status["error"]["reason"] == "FILE_NOT_FOUND"


def test_not_a_byte_of_a_canary_has_left(shared_house, answers):
    everything = shared_house.observer(subscribe=("beckon/v1/+/presence",))  # what the broker retains
    assert_no_leak(shared_house, everything)
    sent = {(case.agent, upload) for upload, case, status in answers if status["state"] == "done"}
    stored = {path.parts[-3:-1] for path in shared_house.stored_files()}
    assert {one for one in stored if one[1].startswith("case-")} == sent
