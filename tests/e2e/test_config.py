"""Every mistake in a configuration is named with file and line, and no program starts with half of one."""

import re
import subprocess

import pytest

from harness.house import BIN, House, merge, write_config
from harness.process import environment
from harness.waiting import SANITIZED, SLOWNESS

DAEMONS = ("agent", "receiver", "coordinator")
ENDS_WITHIN_S = 10 * SLOWNESS

# What each daemon's table must catch: (section, key, bad value). None: the key is left out.
BAD = {
    "agent": [
        ("agent", "concurrency", "many"), ("agent", "concurrency", "0"), ("agent", "concurrency", "-1"),
        ("agent", "heartbeat", "30 parsecs"), ("agent", "heartbeat", "soon"), ("agent", "state_dir", "relative/folder"),
        ("agent", "client_id", "has/slash"), ("agent", "client_id", "coordinator"), ("agent", "client_id", ".dot"),
        ("agent", "client_id", "x" * 65), ("agent", "worker", "/does/not/exist"), ("agent", "unknown_key", "1"),
        ("agent", "coordinator_key", "{private}"), ("agent", "coordinator_key", "{garbage}"), ("agent", "coordinator_key", "/no/such"),
        ("mqtt", "host", None), ("mqtt", "port", "0"), ("mqtt", "port", "65536"), ("mqtt", "port", "http"),
        ("mqtt", "ca", "/does/not/exist"), ("mqtt", "ca", "{garbage}"), ("mqtt", "cert", None),
        ("mqtt", "cert", "{garbage}"), ("mqtt", "key", "/does/not/exist"), ("mqtt", "key", "{garbage}"),
        ("mqtt", "key", "{other_key}"), ("mqtt", "keepalive", "x"), ("mqtt", "backoff_min", "-5s"),
        ("mqtt", "backoff_max", "1ms"), ("files", "max_size", "10Q"), ("files", "max_size", "-1"),
        ("files", "max_size", "99999999999999999999"), ("files", "allow", "relative"), ("files", "allow", "/proc"),
        ("files", "allow", "//dev/./shm"), ("files", "allow", "/srv/.."), ("files", "deny", "a/b"), ("files", "deny", "/srv/**/x"),
        ("files", "deny", "/srv/x/"), ("files", "owner", "no_such_user_here"), ("files", "owner", "-1"),
        ("files", "follow_symlinks", "perhaps"), ("files", "single_link", "2"), ("receiver", "url", None),
        ("receiver", "url", "http://127.0.0.1:1"), ("receiver", "url", "nonsense"), ("receiver", "pin", "/etc/passwd"), ("receiver", "pin", "sha256//AAAA"), ("receiver", "pin", "sha256//"), ("receiver", "pin", "md5//x"), ("receiver", "rate", "fast"),
        ("receiver", "backoff_max", "1ms"), ("receiver", "cert", "{garbage}"), ("receiver", "ca", "/does/not/exist"),
        ("receivers", "second", "ftp://x"), ("log", "level", "loud"), ("log", "format", "xml"), ("nonsense", "key", "1"),
    ],
    "receiver": [
        ("receiver", "store", None), ("receiver", "store", "relative"), ("receiver", "port", "65536"),
        ("receiver", "address", "not-an-address"), ("receiver", "cert", None), ("receiver", "cert", "/does/not/exist"),
        ("receiver", "cert", "{garbage}"), ("receiver", "key", "{garbage}"), ("receiver", "key", "{other_key}"),
        ("receiver", "client_ca", None), ("receiver", "client_ca", "{garbage}"), ("receiver", "crl", "/does/not/exist"),
        ("receiver", "crl", "{garbage}"), ("receiver", "signing_key", None), ("receiver", "signing_key", "{other_key}"),
        ("receiver", "signing_key", "{public}"), ("receiver", "coordinator_key", "{private}"), ("receiver", "require_ticket", "perhaps"),
        ("receiver", "coordinator_key", "{garbage}"), ("receiver", "audit_file", "/dev/null"), ("receiver", "nmae", "x"), ("limits", "max_size", "1 parsec"),
        ("limits", "connections", "0"), ("limits", "connections", "lots"), ("limits", "connections_per_client", "lots"), ("limits", "idle_timeout", "x"),
        ("limits", "uploads_per_client", "-1"), ("mqtt", "host", None), ("mqtt", "key", "{other_key}"),
        ("mqtt", "cert", "{garbage}"), ("log", "level", ""), ("nonsense", "key", "1"), ("retention", "age", "soon"),
        ("retention", "age", "36501d"), ("retention.age", "restaurant_*", "soon"), ("retention.age", "restaurant_*", "36501d"),
        ("retention.age", "a/b", "1d"), ("retention.count", "kiosk-?", "-1"), ("retention.bytes", "kiosk-?", "many"),
    ],
    "coordinator": [
        ("coordinator", "database", None), ("coordinator", "port", "x"), ("coordinator", "connections_per_address", "-1"),
        ("coordinator", "address", "999.1.1.1"),
        ("coordinator", "cert", "{garbage}"), ("coordinator", "key", "{other_key}"), ("coordinator", "audit_file", "/dev/null"),
        ("coordinator", "operator_key", "{private}"), ("coordinator", "audit_file", "/tmp/"),
        ("coordinator", "token_file", "/does/not/exist"), ("coordinator", "token_file", "{empty}"),
        ("coordinator", "signing_key", "{other_key}"), ("coordinator", "signing_key", None),
        ("coordinator", "receiver_key", None), ("coordinator", "receiver_key", "{private}"),
        ("coordinator", "receiver_url", None), ("coordinator", "receiver_url", "http://plain"), ("coordinator", "usre", "x"),
        ("requests", "expires", "never"), ("requests", "republish", "5 minutes"), ("mqtt", "ca", None),
        ("mqtt", "ca", "{garbage}"), ("mqtt", "key", "{other_key}"), ("mqtt", "port", "-1"), ("log", "format", "xml"),
        ("nonsense", "key", "1"), ("retention", "history_age", "soon"), ("retention", "history_count", "1d"),
        ("retention.history_age", "restaurant_*", "soon"), ("retention.history_age", "restaurant_*", "36501d"),
        ("retention.history_age", "a/b", "1d"), ("retention.history_count", "kiosk-?", "many"),
        ("retention.history_count", "kiosk-?", "1000000001"), ("retention.histroy_age", "kiosk-?", "1d"),
    ],
}
CASES = [(daemon, *case) for daemon in DAEMONS for case in BAD[daemon]]


@pytest.fixture(scope="module")
def good(shared_house, pki):
    """{daemon: its good configuration}, and files that are not what they should be."""
    house: House = shared_house
    house.people_port = house.devices_port = house.receiver_port = house.coordinator_port = 1
    (house.folder / "garbage").write_text("-----BEGIN NONSENSE-----\n")
    (house.folder / "empty").write_text("")
    files = house.folder / "files"
    files.mkdir()
    return {
        "agent": house.agent_config("restaurant_1", files, house.folder / "state"),
        "receiver": house.receiver_config(),
        "coordinator": house.coordinator_config(),
        "names": {"garbage": house.folder / "garbage", "empty": house.folder / "empty",
                  "other_key": pki.client("another")[1], "public": pki.token_public("receiver"),
                  "private": pki.token_key("coordinator")},
    }


def run(daemon, config, *options, env=None):
    try:
        return subprocess.run([BIN / f"beckon-{daemon}", "--config", config, *options], capture_output=True, text=True,
                              env=environment(**(env or {})), timeout=ENDS_WITHIN_S, check=False, cwd=config.parent)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"beckon-{daemon} started with a bad configuration: {error.stderr}") from None


def line_of(path, section, key):
    """The line of a key in its section, or of the section's heading, or None."""
    here, heading = None, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("["):
            here = line.strip("[]")
            heading = number if here == section else heading
        elif here == section and line.split("=")[0].strip() == key:
            return number
    return heading


def assert_refused(daemon, path, where, words=()):
    """--check-config names the place; without it the daemon says the same and does not start."""
    checked = run(daemon, path, "--check-config")
    assert checked.returncode == 1, (checked.returncode, checked.stdout, checked.stderr)
    lines = [line for line in checked.stderr.splitlines() if f"{path}{where}" in line]
    assert lines, f"no line names {path}{where}:\n{checked.stderr}"
    for word in words:
        assert any(word in line for line in lines), f"'{word}' is not in {lines}"
    started = run(daemon, path)
    assert started.returncode == 1, (started.returncode, started.stderr)
    assert not re.search(r"\bready\b|connected", started.stderr), started.stderr
    return lines


@pytest.mark.parametrize("daemon", DAEMONS)
def test_good_configuration_passes_and_nothing_is_started_or_made(good, folder, daemon):
    path = write_config(folder / "good.conf", good[daemon])
    result = run(daemon, path, "--check-config")
    said = [line for line in result.stderr.splitlines() if not (SANITIZED and "without a whole sandbox" in line)]
    assert (result.returncode, said) == (0, []), result.stderr
    assert [file.name for file in folder.iterdir()] == ["good.conf"]


@pytest.mark.parametrize("daemon, section, key, value", CASES, ids=["-".join(map(str, case))[:70] for case in CASES])
def test_mistake_is_named_with_file_and_line(good, folder, daemon, section, key, value):
    value = value.format(**good["names"]) if value is not None else None
    path = write_config(folder / f"{daemon}.conf", merge(good[daemon], {section: {key: value}}))
    assert_refused(daemon, path, f":{line_of(path, section, key)}:", [key])


@pytest.mark.parametrize("daemon", DAEMONS)
def test_every_mistake_is_named_not_just_the_first(good, folder, daemon):
    bad = merge(good[daemon], {"mqtt": {"port": "x"}, "log": {"level": "loud"}, "nonsense": {"key": "1"}})
    path = write_config(folder / "bad.conf", bad)
    lines = assert_refused(daemon, path, ":")
    for section, key in (("mqtt", "port"), ("log", "level"), ("nonsense", "key")):
        assert any(f":{line_of(path, section, key)}:" in line for line in lines), lines


def test_allowed_folder_that_a_link_leads_to_is_warned_of(good, folder):
    """No mistake: links come and go on a device, and it must start all the same."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    path = write_config(folder / "agent.conf", merge(good["agent"], {"files": {"allow": folder / "link"}}))
    result = run("agent", path, "--check-config")
    assert result.returncode == 0 and "symbolic link" in result.stderr and str(folder / "real") in result.stderr, result


def test_tickets_need_a_key_to_check_them_with_and_not_too_many(good, folder):
    for key in ("require_ticket", "ticket_alone"):
        path = write_config(folder / "receiver.conf", merge(good["receiver"], {"receiver": {"coordinator_key": None, key: "yes"}}))
        assert_refused("receiver", path, f":{line_of(path, 'receiver', key)}:", ["coordinator_key"])
    keys = {"coordinator_key": [good["names"]["public"]] * 5}
    path = write_config(folder / "agent.conf", merge(good["agent"], {"agent": keys}))
    assert_refused("agent", path, ":", ["more than 4"])


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize("line", ["no equals sign", "name=" + "x" * 300, "[broker", "port=8883\nport=8884"],
                         ids=["not an assignment", "too long", "open bracket", "key twice"])
def test_line_that_is_none_is_named(good, folder, daemon, line):
    path = write_config(folder / "bad.conf", good[daemon])
    text = path.read_text().rstrip("\n")
    path.write_text(f"{text}\n[mqtt]\n{line}\n")
    number = len(path.read_text().splitlines())
    assert_refused(daemon, path, f":{number}:")


@pytest.mark.parametrize("daemon", DAEMONS)
def test_key_before_any_section_is_named(good, folder, daemon):
    path = write_config(folder / "bad.conf", good[daemon])
    path.write_text("early=1\n" + path.read_text())
    assert_refused(daemon, path, ":1:", ["early"])


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize("what", ["missing", "folder", "empty"])
def test_file_that_is_no_configuration(folder, daemon, what):
    path = folder / "the.conf"
    if what == "folder":
        path.mkdir()
    elif what == "empty":
        path.write_text("")
    assert_refused(daemon, path, "")


@pytest.mark.parametrize("daemon, variable", [("agent", "BECKON_MQTT_PORT"), ("receiver", "BECKON_LIMITS_MAX_SIZE"),
                                              ("coordinator", "BECKON_REQUESTS_EXPIRES")])
def test_mistake_in_the_environment_is_named_too(good, folder, daemon, variable):
    path = write_config(folder / "good.conf", good[daemon])
    result = run(daemon, path, "--check-config", env={variable: "wrong"})
    assert result.returncode == 1 and variable in result.stderr, result.stderr


@pytest.mark.parametrize("daemon", DAEMONS)
def test_environment_overrides_the_file(good, folder, daemon):
    path = write_config(folder / "bad.conf", merge(good[daemon], {"log": {"level": "info"}}))
    assert run(daemon, path, "--check-config", env={"BECKON_LOG_LEVEL": "loud"}).returncode == 1
    assert run(daemon, path, "--check-config", env={"BECKON_LOG_LEVEL": "warn"}).returncode == 0


@pytest.mark.parametrize("program", ["beckon-agent", "beckon-receiver", "beckon-coordinator", "beckon"])
def test_help_and_version_need_no_configuration(program):
    for option in ("--help", "--version"):
        result = subprocess.run([BIN / program, option], capture_output=True, text=True, env=environment(), check=False)
        assert (result.returncode, result.stderr) == (0, ""), result
        assert program in result.stdout
    wrong = subprocess.run([BIN / program, "--no-such-option"], capture_output=True, text=True, env=environment(), check=False)
    assert wrong.returncode == 2 and wrong.stderr
