"""What a stranger's words can do: file names, labels and error texts that try to command a terminal, forge a log line, add a
header or break JSON. They are planted by real devices, and every way out to a person or a program is looked at."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
import unicodedata
from urllib.parse import quote, unquote

import pytest
from conftest import opened, temporary_folder
from harness import contract
from harness.house import BIN, House
from harness.https import repr_digest
from harness.waiting import SLOWNESS, wait_until

# Window title, a link, a C1 control sequence, clearing the screen; direction override and isolates; what has no width; line ends that
# would begin a log line or a header of their own; markup; quotes.
NASTY = ("\x1b]0;owned\x07\x1b]8;;http:evil\x1b\\\u009b31m\x1b[2J\u202egpj.exe\u2066\u200b\ufeff\u2028\U000e0041\x7f"
         "\r\n2026-11-21T00:00:00.000Z info beckon-agent: forged\r\nSet-Cookie: a=b\t<script>alert(1)<img src=x>&amp;\"'\\%00${x}")
FILE_NAME = NASTY + ".txt"
CONTENT = b"the same bytes whatever it is called"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LOG_LINE = re.compile(TIME + r" (error|warn|info|debug) beckon-\w+: ")
# What `beckon` itself says to a terminal: back to the line's start, and clear it.
OWN_CONTROLS = re.compile("\r\x1b\\[K|\x1b\\[K|\r\n|\r")


def is_hostile(character):
    point = ord(character)
    return (unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or 0x200b <= point <= 0x200f or 0x202a <= point <= 0x202e
            or 0x2060 <= point <= 0x206f or point in (0xad, 0x61c, 0x180e, 0xfeff) or 0xe0000 <= point <= 0xe007f)


def hostile_in(data):
    """What no terminal should get to see; empty if all is well. Line ends are fine."""
    text = data.decode("utf-8", errors="surrogateescape") if isinstance(data, bytes) else data
    return sorted({f"U+{ord(c):04X}" for c in text if c != "\n" and is_hostile(c)})


def on_terminal(house, *words, enough=None):
    """`beckon` with a terminal for all three; what came out, and the exit code. enough: of what came out; it is interrupted then."""
    parent, child = pty.openpty()
    process = subprocess.Popen([BIN / "beckon", *map(str, words)], cwd=house.folder, stdin=child, stdout=child, stderr=child,
                               env=house.cli_environment() | {"TERM": "xterm-256color"}, start_new_session=True)
    os.close(child)
    shown, deadline = b"", time.monotonic() + 60 * SLOWNESS
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 1)[0]:
            continue
        try:
            piece = os.read(parent, 65536)
        except OSError:  # EIO: it has ended
            break
        if not piece:
            break
        shown += piece
        if enough and enough(shown):
            process.send_signal(signal.SIGINT)
            enough = None
    os.close(parent)
    return shown.decode("utf-8", errors="surrogateescape"), process.wait(60)


def publish(house, client, topic, payload):
    """As the device itself would, with its own certificate and mosquitto_pub."""
    cert, key = house.pki.client(client)
    data = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    contract.published(f"beckon/v1/{client}/{topic}", data)
    subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(house.devices_port), "--cafile", str(house.pki.ca),
                    "--cert", str(cert), "--key", str(key), "-q", "1", "-t", f"beckon/v1/{client}/{topic}", "-s"],
                   input=data, check=True, timeout=60 * SLOWNESS)


@pytest.fixture(scope="module", params=["text", "json"])
def planted(request, pki):
    """A house full of strangers' words, that logs in one of the two forms."""
    with temporary_folder() as folder, opened(House(folder, pki)) as house:
        house.log_format = request.param
        plant(house, request.param)
        yield house


def plant(house, log_format):
    log = {"log": {"level": "debug", "format": log_format}}
    house.audits = [house.folder / "audit" / f"{role}.log" for role in ("coordinator", "receiver")]
    house.start(agents=(), coordinator=log | {"coordinator": {"audit_file": house.audits[0]}},
                receiver=log | {"receiver": {"audit_file": house.audits[1]}})
    house.start_agent("restaurant_1", log | {"labels": {"site\x1b[31m": "Köln \u202e\u009b<b>\x7f"}})
    folder = house.agents["restaurant_1"].files
    (folder / FILE_NAME).write_bytes(CONTENT)
    house.wait_online("restaurant_1")
    house.done = house.ask("restaurant_1", folder / FILE_NAME)
    house.rejected = house.ask("restaurant_1", f"/elsewhere/{FILE_NAME}")
    house.wait_status(house.ask("restaurant_1", "/" + "long/" * 800), "rejected")
    house.wait_status(house.done, "completed")
    house.wait_status(house.rejected, "rejected")
    plant_messages(house)


def plant_messages(house):
    error = {"code": "internal", "reason": "R\x1b[1m\u202e", "message": NASTY}
    publish(house, "evil", "presence", {"online": True, "version": "1\x1b[31m\u202e", "since": "2026-11-21T00:00:00Z",
                                        "labels": {NASTY: NASTY, "long": "\u202e" * 500, "": ""}})
    publish(house, "evil", "status/planted", {"state": "failed", "path": "/" + NASTY, "error": error})
    publish(house, "evil", "status/long", {"state": "failed", "path": "/" + "\u202e" * 1300, "error": error | {"message": "\x1b" * 2000}})
    publish(house, "evil", "status/not-utf8", b'{"state":"failed","path":"/\xff\xfe\x9b31m"}')
    publish(house, "evil", "status/not-json", b"\x1b[2J" * 100)
    publish(house, "evil", "receipt/planted", {"receipt": NASTY})
    publish(house, "evil", "status/\u202e<b>\u00e9", {"state": "failed"})
    wait_until(lambda: house.request_row("planted") and house.request_row("long"), "the coordinator to follow the planted uploads")
    wait_until(lambda: house.api().request("GET", "/clients/evil").status == 200, "the coordinator to list the device")
    identity = house.pki.client("evil")
    answer = house.https(identity).put_chunked("/v1/uploads/curl", CONTENT, {"Beckon-Path": "/" + quote(NASTY.replace("%00", ""))},
                                               {"Repr-Digest": repr_digest(CONTENT)})
    assert answer.status == 201, answer
    for path, headers in [("/v1/uploads/%1b%5b31m", {}), ("/v1/uploads/x", {"Upload-Offset": "\x1b[31m"}), ("/%0d%0a?ticket=%1b", {}),
                          ("/v1/uploads/x?ticket=" + quote(NASTY), {}), ("/v1/uploads/x", {"Upload-Draft-Interop-Version": "\x9b"})]:
        assert 400 <= house.https(identity).request("GET" if "ticket" in path else "PUT", path, b"", headers).status < 500
    for path in ["/download/%1b%5b31m", "/clients/" + quote("\u202e"), "/" + quote(NASTY)]:
        assert 400 <= house.api().request("GET", path).status < 500
    house.wait_status("curl", "completed")


def every_answer(house):
    api = house.api()
    for path in ["/clients", "/clients/evil", "/clients/restaurant_1", "/clients/nobody", "/downloads", "/downloads?client=evil",
                 f"/download/{house.done}", f"/download/{house.rejected}", "/download/planted", "/download/long", "/download/curl",
                 "/download/" + quote(NASTY, safe="")[:60]]:
        yield path, api.request("GET", path)


def test_no_log_line_is_forged_or_commands_a_terminal(planted):
    for daemon in planted.daemons:
        if daemon.name == "broker":  # mosquitto's own
            continue
        data = daemon.log_path.read_bytes()
        assert not hostile_in(data), f"{daemon.name}: {hostile_in(data)}"
        for line in data.decode().splitlines():
            if planted.log_format == "json":
                assert json.loads(line)["program"].startswith("beckon-"), line
            else:
                assert LOG_LINE.match(line), f"{daemon.name}: {line!r}"
            assert len(line) <= 4096
    agent = planted.agents["restaurant_1"].log()
    assert "owned" in agent and "beckon-agent: forged" in agent  # it was there to be escaped
    assert "u202e" in agent and "x1b" in agent
    assert re.search(r"rejected: PATH_NOT_ALLOWED .*long/long/.*\.\.\.", agent)  # a long name hides nothing but its own end


def test_no_verb_commands_the_terminal(planted):
    name = planted.agents["restaurant_1"].files / FILE_NAME
    runs = [("clients",), ("downloads",), ("downloads", "--client", "evil"), ("status", planted.done), ("status", planted.rejected),
            ("status", "planted"), ("status", "long"), ("cancel", "planted"), ("get", "restaurant_1", name),
            ("watch", planted.done), ("watch", planted.rejected), ("watch", "planted"), ("watch", "long"),
            ("get", "restaurant_1", name, "-o", planted.folder), ("get", "restaurant_1", f"/elsewhere/{NASTY}"), ("get", "nobody", name)]
    for words in runs:
        for more in [(), ("--json",)]:
            shown, _ = on_terminal(planted, *words, *more)
            assert shown
            left = OWN_CONTROLS.sub("\n", shown)
            assert not hostile_in(left), f"beckon {words[0]} {more}: {hostile_in(left)} in {shown!r}"
            assert "forged" not in [line.strip()[:6] for line in left.splitlines()]


def plant_events(house, upload, version):
    """What an operator who listens hears of."""
    error = {"code": "internal", "reason": "R\x1b[1m\u202e\n\nevent: reset", "message": NASTY}
    publish(house, "evil", "presence", {"online": True, "version": f"{version}\x1b[31m\u202e\r\n\r\n", "since": "2026-11-21T00:00:00Z",
                                        "labels": {NASTY: NASTY, "u": upload}})
    publish(house, "evil", f"status/{upload}", {"state": "failed", "path": "/" + NASTY, "error": error})


def test_events_are_lines_that_are_whole_and_printable(planted):
    kinds, seen, data = set(), "", b""
    with planted.api().connect() as stream:
        stream.settimeout(60 * SLOWNESS)
        stream.sendall(f"GET /events HTTP/1.0\r\nAuthorization: Bearer {planted.token}\r\n\r\n".encode())
        while b"retry: 2000\n\n" not in data:
            data += stream.recv(65536)
        plant_events(planted, "told", "2")
        while b'"told"' not in data.partition(b"event: request\n")[2] or not data.endswith(b"\n\n"):
            piece = stream.recv(65536)
            assert piece, data
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert not hostile_in(head.replace(b"\r\n", b"\n")) and not hostile_in(body), hostile_in(body)
    for event in body.decode().removeprefix("retry: 2000\n\n").split("\n\n")[:-1]:
        match = re.fullmatch(r"id: \d+-\d+\nevent: (client|request)\ndata: (\{.*\})", event)
        assert match or event == ":" or re.fullmatch(r"id: \d+-\d+", event), event
        if match:
            kinds.add(match[1])
            seen += json.dumps(json.loads(match[2]), ensure_ascii=False)
    assert kinds == {"client", "request"}
    for words in ("\u202egpj.exe", "\u009b31m", "\U000e0041"):
        assert words in seen  # escaped, not lost


def somebody_listens(house):
    return b"\nbeckon_events_readers 0" not in house.api().request("GET", "/metrics").body


def plant_when_heard(house, upload):
    """Nobody hears what was before."""
    wait_until(lambda: somebody_listens(house), "the watcher to listen")
    plant_events(house, upload, upload)


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["lines", "json"])
def test_who_watches_on_a_terminal_sees_words_only(planted, more):
    upload = f"watched{len(more)}-{planted.log_format}"
    wait_until(lambda: not somebody_listens(planted), "the readers of before to go")
    planter = threading.Thread(target=plant_when_heard, args=(planted, upload))
    planter.start()
    shown, code = on_terminal(planted, *more, "watch", enough=lambda text: upload.encode() in text and b"failed" in text)
    planter.join()
    assert code == 130, shown
    left = OWN_CONTROLS.sub("\n", shown)
    assert not hostile_in(left), f"{hostile_in(left)} in {shown!r}"
    assert "forged" not in [line.strip()[:6] for line in left.splitlines()]
    if more:
        assert {json.loads(line)["event"] for line in left.splitlines() if line} <= {"client", "request"}


def test_every_answer_is_json_that_is_whole_and_printable(planted):
    seen = ""
    for path, answer in every_answer(planted):
        assert answer["X-Content-Type-Options"] == "nosniff" and "json" in answer["Content-Type"], path
        assert isinstance(answer.json(), dict)
        assert not hostile_in(answer.body), f"{path}: {hostile_in(answer.body)}"
        assert answer["Set-Cookie"] is None
        seen += json.dumps(answer.json(), ensure_ascii=False)
    for words in ("\u202egpj.exe", "\u009b31m", "\U000e0041"):
        assert words in seen  # escaped, not lost


def test_labels_and_errors_arrive_as_they_were_said(planted):
    labels = planted.api().request("GET", "/clients/evil").json()["labels"]
    assert labels[NASTY] == NASTY
    assert planted.request_row("planted")["fileName"] == "/" + NASTY
    row = planted.request_row("planted")
    assert NASTY.startswith(row["error"]["message"][:50])


def test_a_download_has_the_headers_it_should_and_no_others(planted):
    """Read as bytes: a library would hide what is wrong."""
    evil = planted.https(planted.pki.client("evil"))
    with evil.connect() as stream:
        stream.sendall(b"GET /v1/uploads/curl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := stream.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == CONTENT
    assert not hostile_in(head.replace(b"\r\n", b"\n")), head
    assert head.isascii()
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert "Set-Cookie" not in fields
    assert fields["Content-Type"] == "application/octet-stream" and fields["X-Content-Type-Options"] == "nosniff"
    assert fields["Content-Security-Policy"] == "sandbox"
    match = re.fullmatch(r'attachment; filename="([^"\\%]*)"; filename\*=UTF-8\'\'([A-Za-z0-9._~%-]+)', fields["Content-Disposition"])
    assert match, fields["Content-Disposition"]
    name = unquote(match[2], errors="strict")
    assert not hostile_in(name) and "/" not in name and len(name.encode()) <= 255


def test_names_in_the_store_are_safe_and_its_metadata_is_json(planted):
    files = [path for path in planted.store.rglob("*") if path.is_file() and ".incoming" not in path.parts]
    assert len(files) >= 4
    for path in files:
        assert not hostile_in(os.fsencode(path.name)), path
        if path.suffix == ".json" and path.parent.parent == planted.store:
            data = path.read_bytes()
            assert "path" in json.loads(data)
            assert not hostile_in(data.replace(b"\t", b" ")), path


def test_audit_logs_are_one_good_line_a_call(planted):
    evil = planted.https(planted.pki.client("evil"))
    assert evil.request("GET", "/v1/uploads/curl").status == 200
    for path in planted.audits:
        data = path.read_bytes()
        assert not hostile_in(data), f"{path.name}: {hostile_in(data)}"
        entries = [json.loads(line) for line in data.decode().splitlines()]
        assert any("\u202egpj.exe" in entry.get("file", "") for entry in entries)
