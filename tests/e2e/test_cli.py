"""The command line `beckon` against a coordinator and a receiver made of glass: what it sends, what it believes, what it leaves."""

import hashlib
import http.server
import json
import os
import pty
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

BEAT = 0.05
TOKEN = "a-secret-of-the-operator"
CONTENT = os.urandom(3_000_000)


def find_beckon():
    bin_dir = os.environ.get("BECKON_BIN_DIR", Path(__file__).parents[2] / "build/dev/bin")
    return str(Path(bin_dir) / "beckon")


class Glass:
    """Both servers' behaviour and everything they were asked."""

    def __init__(self):
        self.asked = []  # (server, method, path, headers, body)
        self.states = ["queued", "running", "completed"]
        self.content = CONTENT
        self.sha256 = hashlib.sha256(CONTENT).hexdigest()
        self.size = len(CONTENT)
        self.error = None
        self.post_status = 202
        self.post_drops = 0
        self.break_after = []  # bytes after which each of the next content answers breaks off
        self.ranges = True
        self.hangs_s = 0
        self.stalls = False  # in the middle of the content
        self.name = "/srv/data/file.bin"

    def row(self):
        state = self.states[0]
        if len(self.states) > 1:
            self.states.pop(0)
        row = {"requestId": "r1", "clientId": "dev1", "fileName": self.name, "status": state, "origin": "rest",
               "bytesReceived": self.size // 2, "size": self.size, "startedAt": "2026-01-01T00:00:00.000Z"}
        if state == "completed":
            row |= {"sha256": self.sha256, "filePath": "dev1/r1/file.bin"}
        if self.error:
            row["error"] = self.error
        return row

    def problem(self, status):
        return {"type": "about:blank", "title": "x", "status": status, "detail": "no", "code": "not_found",
                "reason": "UNKNOWN_CLIENT", "message": "no such client \x1b[31m", "knownClients": ["dev1", "restaurant_17"]}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is what some tests are about


def handler_of(glass, server_name, addresses):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, value, headers=()):
            body = json.dumps(value).encode()
            self.send_response(status)
            for name, text in headers:
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def note(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            glass.asked.append((server_name, self.command, self.path, dict(self.headers), body))
            return body

        def do_POST(self):
            self.note()
            if glass.post_drops > 0:
                glass.post_drops -= 1
                self.close_connection = True
                self.connection.close()
                return
            if glass.post_status != 202:
                return self.reply(glass.post_status, glass.problem(glass.post_status))
            self.reply(202, {"message": "asked", "requestId": "r1", "clientId": "dev1", "fileName": glass.name})

        def do_DELETE(self):
            self.note()
            self.reply(202, {"cancelRequested": True})

        def do_GET(self):
            self.note()
            if server_name == "receiver":
                return self.send_content()
            if self.path == "/clients":
                return self.reply(200, {"clients": [{"id": "dev1", "online": True, "labels": {"site": "Köln\n"}},
                                                    {"id": "restaurant_17", "online": False, "labels": {}}], "count": 2})
            if self.path.startswith("/downloads?"):
                return self.reply(200, {"downloads": [glass.row()], "count": 1})
            if self.path.partition("?")[0] == "/download/r1":
                time.sleep(glass.hangs_s)
                return self.reply(200, glass.row())
            if self.path == "/download/r1/content":
                return self.reply(302, {}, [("Location", addresses["receiver"] + "/v1/uploads/r1?ticket=abc")])
            self.reply(404, glass.problem(404))

        def send_content(self):
            content, offset = glass.content, 0
            wanted = self.headers.get("Range")
            if wanted and glass.ranges:
                offset = int(wanted.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - offset))
            self.end_headers()
            piece = content[offset:]
            if glass.break_after:
                piece = piece[:glass.break_after.pop(0)]
                self.close_connection = True
            if glass.stalls:
                self.wfile.write(piece[:1_000_000])
                time.sleep(10)
            self.wfile.write(piece)

    return Handler


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return folder


@pytest.fixture
def glass(certificate, tmp_path):
    state, addresses, servers = Glass(), {}, []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    for name in ("coordinator", "receiver"):
        server = Server(("127.0.0.1", 0), handler_of(state, name, addresses))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        addresses[name] = f"https://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(BEAT,), daemon=True).start()
        servers.append(server)
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "out").mkdir()
    state.folder = tmp_path / "out"
    state.environment = os.environ | {"BECKON_COORDINATOR_URL": addresses["coordinator"] + "/", "BECKON_CA": str(certificate / "cert.pem"),
                                      "BECKON_TOKEN_FILE": str(tmp_path / "token"), "LC_ALL": "C.UTF-8"}
    yield state
    for server in servers:
        server.shutdown()
        server.server_close()


def beckon(glass, *arguments, **options):
    return subprocess.run([find_beckon(), *map(str, arguments)], env=glass.environment, capture_output=True, timeout=60,
                          cwd=glass.folder, **options)


def asked_of(glass, server):
    return [request for request in glass.asked if request[0] == server]


def test_get_saves_the_verified_file_and_nothing_else(glass):
    done = beckon(glass, "get", "dev1", "/srv/data/file.bin", "-o", "y")
    assert done.returncode == 0, done.stderr
    assert (glass.folder / "y").read_bytes() == CONTENT
    assert os.listdir(glass.folder) == ["y"]


def test_token_goes_to_the_coordinator_and_never_to_the_receiver(glass):
    assert beckon(glass, "get", "dev1", "/x", "-o", "y").returncode == 0
    for request in asked_of(glass, "coordinator"):
        assert request[3]["Authorization"] == f"Bearer {TOKEN}"
    assert asked_of(glass, "receiver")
    for request in asked_of(glass, "receiver"):
        assert TOKEN not in str(request) and "Authorization" not in request[3]


def test_get_into_a_folder_takes_the_basename(glass):
    assert beckon(glass, "get", "dev1", "/srv/a b\nü", "-o", ".").returncode == 0
    assert os.listdir(glass.folder) == ["a b\nü"]


@pytest.mark.parametrize("path", ["/a b/c", "/srv/ünï/☃", "-x", "--output", "/with\nnewline", "rel/ative"])
def test_paths_travel_unchanged(glass, path):
    assert beckon(glass, "get", "--no-wait", "--", "dev1", path).stdout == b"r1\n"
    body = json.loads(glass.asked[0][4])
    assert body == {"clientId": "dev1", "fileName": path}


def test_limits_travel_in_bytes_and_seconds(glass):
    assert beckon(glass, "get", "dev1", "/x", "--no-wait", "--expires", "1h", "--max-size", "2G", "--rate", "500K").returncode == 0
    assert json.loads(glass.asked[0][4]) == {"clientId": "dev1", "fileName": "/x", "expires": 3600, "maxSize": 2 << 30,
                                             "rate": 500 << 10}


def test_get_streams_to_standard_output(glass):
    done = beckon(glass, "get", "dev1", "/x", "-o", "-")
    assert done.returncode == 0 and done.stdout == CONTENT


@pytest.mark.parametrize("target", ["y", "-"])
def test_wrong_digest_is_a_failure(glass, target):
    (glass.folder / "y").write_bytes(b"old")
    glass.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    done = beckon(glass, "get", "dev1", "/x", "-o", target)
    assert done.returncode == 1 and b"wrong SHA-256" in done.stderr
    assert (glass.folder / "y").read_bytes() == b"old"
    assert os.listdir(glass.folder) == ["y"]


@pytest.mark.parametrize("change", [1, -1])
def test_wrong_size_is_a_failure(glass, change):
    glass.content = CONTENT[:-1] if change < 0 else CONTENT + b"x"
    done = beckon(glass, "get", "dev1", "/x", "-o", "y")
    assert done.returncode == 1, done.stderr
    assert os.listdir(glass.folder) == []


@pytest.mark.parametrize("target", ["y", "-"])
def test_broken_download_goes_on_where_it_broke(glass, target):
    glass.break_after = [1_000_000, 10, 1_000_000]
    done = beckon(glass, "get", "dev1", "/x", "-o", target)
    assert done.returncode == 0, done.stderr
    assert (done.stdout if target == "-" else (glass.folder / "y").read_bytes()) == CONTENT
    ranges = [request[3].get("Range") for request in asked_of(glass, "receiver")]
    assert ranges == [None, "bytes=1000000-", "bytes=1000010-", "bytes=2000010-"]


def test_receiver_without_ranges_is_begun_anew_for_a_file(glass):
    glass.break_after, glass.ranges = [1_000_000], False
    assert beckon(glass, "get", "dev1", "/x", "-o", "y").returncode == 0
    assert (glass.folder / "y").read_bytes() == CONTENT


def test_empty_file_appears(glass):
    glass.content, glass.size, glass.sha256 = b"", 0, hashlib.sha256(b"").hexdigest()
    assert beckon(glass, "get", "dev1", "/x", "-o", "y").returncode == 0
    assert (glass.folder / "y").read_bytes() == b""


def test_link_is_kept_and_the_file_behind_it_replaced(glass):
    (glass.folder / "real").write_bytes(b"old")
    (glass.folder / "link").symlink_to("real")
    assert beckon(glass, "get", "dev1", "/x", "-o", "link").returncode == 0
    assert (glass.folder / "link").is_symlink() and (glass.folder / "real").read_bytes() == CONTENT


def test_device_node_is_written_to_not_replaced(glass):
    before = os.stat("/dev/null")
    assert beckon(glass, "get", "dev1", "/x", "-o", "/dev/null").returncode == 0
    assert os.stat("/dev/null").st_rdev == before.st_rdev


@pytest.mark.parametrize("target", ["missing/y", "missing/", "file/y"])
def test_unusable_output_is_told_before_the_device_is_asked(glass, target):
    (glass.folder / "file").touch()
    done = beckon(glass, "get", "dev1", "/x", "-o", target)
    assert done.returncode == 2 and glass.asked == []


@pytest.mark.parametrize("state, code", [("completed", 0), ("failed", 1), ("cancelled", 1), ("expired", 1), ("rejected", 3)])
def test_exit_code_says_how_it_ended(glass, state, code):
    glass.states = [state]
    glass.error = {"code": "permission_denied", "reason": "PATH_NOT_ALLOWED", "message": "not \x1b[2J allowed"} if code else None
    done = beckon(glass, "get", "dev1", "/etc/shadow")
    assert done.returncode == code
    assert b"\x1b" not in done.stderr + done.stdout
    assert not code or b"PATH_NOT_ALLOWED" in done.stderr


@pytest.mark.parametrize("status, code", [(401, 3), (403, 3), (404, 3), (500, 1), (503, 1)])
def test_refused_request_has_its_exit_code(glass, status, code):
    glass.post_status = status
    done = beckon(glass, "get", "nobody", "/x")
    assert done.returncode == code and b"no such client" in done.stderr and b"\x1b" not in done.stderr


def test_unknown_client_lists_the_known_ones(glass):
    glass.post_status = 404
    assert b"known: restaurant_17" in beckon(glass, "get", "restaurant_71", "/x").stderr


def test_lost_answer_is_asked_for_again_under_the_same_key(glass):
    glass.post_drops = 1
    assert beckon(glass, "get", "dev1", "/x", "--no-wait").returncode == 0
    keys = {request[3]["Idempotency-Key"] for request in glass.asked}
    assert len(glass.asked) == 2 and len(keys) == 1


def test_timeout_leaves_the_request_going(glass):
    glass.states = ["queued"]
    begun = time.monotonic()
    done = beckon(glass, "get", "dev1", "/x", "--timeout", "500ms")
    assert done.returncode == 4 and time.monotonic() - begun < 15
    assert b"the request goes on" in done.stderr and b"beckon cancel r1" in done.stderr


def test_timeout_holds_when_the_coordinator_hangs(glass):
    glass.hangs_s = 30
    begun = time.monotonic()
    done = beckon(glass, "get", "dev1", "/x", "--timeout", "700ms")
    assert done.returncode == 4 and time.monotonic() - begun < 15


def test_interrupt_says_that_the_request_goes_on(glass):
    glass.states = ["running"]
    process = subprocess.Popen([find_beckon(), "get", "dev1", "/x"], env=glass.environment, stderr=subprocess.PIPE)
    while ("GET", "/download/r1") not in [request[1:3] for request in glass.asked]:
        time.sleep(BEAT)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the request goes on" in errors and b"beckon cancel r1" in errors


def test_interrupted_fetch_leaves_nothing_behind(glass):
    glass.stalls = True
    process = subprocess.Popen([find_beckon(), "get", "dev1", "/x", "-o", "y"], env=glass.environment, cwd=glass.folder,
                               stderr=subprocess.PIPE)
    while not os.listdir(glass.folder):
        time.sleep(BEAT)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and b"interrupted" in errors
    assert os.listdir(glass.folder) == []


def test_reader_that_goes_away_is_a_failure(glass):
    done = subprocess.run(["bash", "-c", '"$0" get dev1 /x -o - | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}', find_beckon()],
                          env=glass.environment, capture_output=True, timeout=20)
    assert done.returncode == 1 and b"Broken pipe" in done.stderr


def test_json_is_the_servers(glass):
    assert json.loads(beckon(glass, "get", "dev1", "/x", "--json").stdout)["sha256"] == glass.sha256
    assert json.loads(beckon(glass, "--json", "downloads").stdout)["count"] == 1
    assert json.loads(beckon(glass, "clients", "--online", "--json").stdout)["count"] == 1


def test_tables_line_up_and_escape(glass):
    glass.name = "/srv/\x1b[2J\nfile"
    lines = beckon(glass, "clients").stdout.decode().splitlines()
    assert len(lines) == 3
    assert {line.index("o" if i else "STATE", 14) for i, line in enumerate(lines)} == {15}
    lines = beckon(glass, "downloads").stdout.decode().splitlines()
    assert len(lines) == 2 and "\x1b" not in lines[1]


def test_status_and_cancel(glass):
    assert b"status    queued" in beckon(glass, "status", "r1").stdout
    assert beckon(glass, "cancel", "r1").returncode == 0
    assert glass.asked[-1][1:3] == ("DELETE", "/download/r1")
    assert beckon(glass, "status", "unknown").returncode == 1
    assert beckon(glass, "cancel", "--client", "dev1", "r1").returncode == 0
    assert glass.asked[-1][1:3] == ("DELETE", "/download/r1?clientId=dev1")


def test_downloads_can_be_narrowed(glass):
    assert beckon(glass, "downloads", "--client", "dev1", "--status", "failed", "--limit", "7").returncode == 0
    assert glass.asked[-1][2] == "/downloads?limit=7&client=dev1&status=failed"


@pytest.mark.parametrize("arguments", [[], ["no-such"], ["get"], ["get", "dev1"], ["get", "a/b", "/x"], ["get", "dev1", "/x", "y"],
                                       ["get", "dev1", "/x", "--rate", "fast"], ["get", "dev1", "/x", "--no-wait", "-o", "y"],
                                       ["get", "dev1", "/x", "--json", "-o", "-"], ["status", "../x"], ["clients", "x"], ["downloads", "--status", "odd"], ["downloads", "--limit", "0"],
                                       ["status", "--client", "a&b", "r1"],
                                       ["get", "dev1", b"/\xff"], ["--no-such"], ["--url", "http://127.0.0.1", "clients"],
                                       ["--token-file", "/nonexistent", "clients"], ["--ca", "/nonexistent", "clients"]])
def test_mistakes_are_usage_errors(glass, arguments):
    done = subprocess.run([find_beckon(), *arguments], env=glass.environment, capture_output=True, timeout=20)
    assert done.returncode == 2 and done.stderr and glass.asked == []


def test_server_of_another_authority_is_not_trusted(glass, certificate, tmp_path):
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    tmp_path / "k", "-out", other, "-subj", "/CN=localhost"], check=True, capture_output=True)
    done = beckon(glass, "--ca", other, "clients")
    assert done.returncode == 1 and glass.asked == []


def test_bar_on_a_terminal_fits_and_goes_away(glass):
    glass.states = ["queued"] + ["running"] * 8 + ["completed"]
    master, slave = pty.openpty()
    process = subprocess.Popen([find_beckon(), "get", "dev1", "/x"], env=glass.environment | {"TERM": "xterm"}, stderr=slave,
                               stdout=subprocess.PIPE)
    os.close(slave)
    seen = b""
    try:
        while piece := os.read(master, 4096):
            seen += piece
    except OSError:
        pass
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert b" 50% [" in seen and seen.endswith(b"\r\x1b[K") and b"\n" not in seen
    assert all(len(line) < 80 + len(b"\x1b[K") for line in seen.split(b"\r"))
