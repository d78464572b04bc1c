"""The receiver by itself, spoken to with curl and with raw HTTPS. There is no broker: it must serve all the same."""

import http.client
import json
import os
import socket
import threading

import pytest

from harness.curl import curl
from harness.https import read_answer, repr_digest, send_chunk
from harness.ports import free_port
from harness.process import cpu_seconds
from harness.waiting import wait_until

DIGEST_MISMATCH = "https://iana.org/assignments/http-problem-types#digest-mismatching-values"
UPLOADS = "/v1/uploads/"
CUT = (OSError, http.client.HTTPException)  # what a client sees of a connection that the receiver drops


@pytest.fixture(scope="module")
def house(shared_house):
    shared_house.people_port = free_port()  # nobody listens there
    shared_house.start_receiver({"limits": {"uploads_per_client": 16, "max_size": "1M"}})
    return shared_house


@pytest.fixture
def device(pki):
    return pki.client("restaurant_1")


@pytest.fixture
def https(house, device):
    return house.https(device)


def assert_problem(answer, status, code=None):
    assert answer.status == status, answer
    assert answer["Content-Type"].split(";")[0] == "application/problem+json", answer
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "code", "reason", "message"} <= problem.keys(), problem
    if code:
        assert problem["code"] == code, problem
    return problem


def assert_nothing_stored(house, https, upload, client="restaurant_1"):
    assert https.request("GET", UPLOADS + upload).status == 404
    assert house.stored(client, upload) is None
    assert not (house.store / client / f"{upload}.json").exists()


# storing


@pytest.mark.parametrize("size", [0, 1, 65536, 1000000])
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_curl_put_is_stored_and_answered_with_its_digest(house, device, folder, upload, size, how):
    data = os.urandom(size)
    (folder / "x.bin").write_bytes(data)
    options = ["-T", folder / "x.bin"] if how == "length" else ["-T", "-"]
    answer = curl(*options, house.receiver_url + UPLOADS + upload, ca=house.pki.ca, identity=device,
                  stdin=data if how == "chunked" else None)
    assert answer.status == 201, answer
    assert answer["Repr-Digest"] == repr_digest(data)
    assert answer["Upload-Complete"] == "?1"
    assert answer["Upload-Offset"] == str(size)
    assert house.stored("restaurant_1", upload).read_bytes() == data


def test_right_digest_in_trailer_is_accepted(house, https, upload):
    data = os.urandom(100000)
    answer = https.put_chunked(UPLOADS + upload, data, {"Upload-Length": len(data)}, {"Repr-Digest": repr_digest(data)})
    assert answer.status == 201, answer
    assert answer["Repr-Digest"] == repr_digest(data)
    assert house.stored("restaurant_1", upload).read_bytes() == data


@pytest.mark.parametrize("place", ["header", "trailer"])
def test_wrong_digest_is_refused_and_never_served(house, https, upload, place):
    data = os.urandom(50000)
    wrong = {"Repr-Digest": repr_digest(data + b"x")}
    answer = https.put_chunked(UPLOADS + upload, data, wrong if place == "header" else None,
                               wrong if place == "trailer" else None)
    problem = assert_problem(answer, 400)
    assert problem["type"] == DIGEST_MISMATCH
    assert_nothing_stored(house, https, upload)
    good = https.put_chunked(UPLOADS + upload, data, None, {"Repr-Digest": repr_digest(data)})
    assert good.status == 201, "after a wrong digest the client may try once more"


def test_wrong_digest_by_curl_header_is_400(house, device, folder, upload):
    (folder / "x").write_bytes(b"hello")
    url = house.receiver_url + UPLOADS + upload
    answer = curl("-T", folder / "x", "-H", f"Repr-Digest: {repr_digest(b'other')}", url, ca=house.pki.ca, identity=device)
    assert_problem(answer, 400)
    assert curl(url, ca=house.pki.ca, identity=device).status == 404


@pytest.mark.parametrize("digest", ["sha-256=:AAAA:", "nonsense", "sha-256=abc"])
def test_malformed_digest_is_refused(house, https, upload, digest):
    assert_problem(https.put_chunked(UPLOADS + upload, b"hello", {"Repr-Digest": digest}), 400, "invalid_argument")
    assert_nothing_stored(house, https, upload)


@pytest.mark.parametrize("stated", [99, 101])
def test_body_of_another_length_than_stated_is_refused(house, https, upload, stated):
    answer = https.put_chunked(UPLOADS + upload, b"x" * 100, {"Upload-Length": stated})
    assert_problem(answer, 400, "invalid_argument")
    assert_nothing_stored(house, https, upload)


@pytest.mark.parametrize("how", ["chunked", "length"])
def test_broken_connection_completes_nothing(house, https, upload, how):
    if how == "chunked":
        with https.begin_put(UPLOADS + upload) as stream:
            send_chunk(stream, b"x" * 20000)
            stream.sendall(b"4000\r\n" + b"y" * 100)
    else:
        with https.connect() as stream:
            stream.sendall(f"PUT {UPLOADS}{upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n".encode())
            stream.sendall(b"x" * 20000)
    wait_until(lambda: https.request("GET", UPLOADS + upload).status == 404, "the upload to be not complete")
    head = https.request("HEAD", UPLOADS + upload)
    if head.status != 404:
        assert head.status == 204 and head["Upload-Complete"] == "?0" and int(head["Upload-Offset"]) <= 20100, head
    assert house.stored("restaurant_1", upload) is None
    data = os.urandom(40000)
    assert https.request("PUT", UPLOADS + upload, data).status == 201, "a new PUT starts over"
    assert house.stored("restaurant_1", upload).read_bytes() == data


def test_repeat_with_the_same_content_gets_the_same_answer(house, https, upload):
    first = https.request("PUT", UPLOADS + upload, b"same")
    before = house.stored("restaurant_1", upload).stat()
    again = https.request("PUT", UPLOADS + upload, b"same")
    assert (first.status, again.status) == (201, 201)
    assert again["Repr-Digest"] == first["Repr-Digest"] == repr_digest(b"same")
    after = house.stored("restaurant_1", upload).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns), "it was stored a second time"


def test_repeat_with_other_content_is_409_and_the_file_stays(house, https, upload):
    assert https.request("PUT", UPLOADS + upload, b"first").status == 201
    assert_problem(https.request("PUT", UPLOADS + upload, b"other"), 409)
    assert https.request("GET", UPLOADS + upload).body == b"first"


def test_newer_put_fences_the_older_one(house, https, upload):
    with https.begin_put(UPLOADS + upload) as old:
        send_chunk(old, b"old" * 1000)
        wait_until(lambda: https.request("HEAD", UPLOADS + upload).status == 204, "the first transfer to have begun")
        assert https.request("PUT", UPLOADS + upload, b"new").status == 201
        try:
            send_chunk(old, b"old" * 1000)
            old.sendall(b"0\r\n\r\n")
            assert read_answer(old, "PUT").status != 201, "the older transfer was completed too"
        except CUT:
            pass  # as it should be
    assert house.stored("restaurant_1", upload).read_bytes() == b"new"


def test_many_puts_of_one_upload_at_once_leave_one_whole_file(house, https, upload):
    bodies = [bytes([letter]) * 300000 for letter in range(8)]

    def put(body):
        try:
            https.put_chunked(UPLOADS + upload, body)
        except CUT:
            pass  # fenced
    threads = [threading.Thread(target=put, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.stored("restaurant_1", upload).read_bytes() in bodies


# asking and deleting


def test_head_tells_offset_and_completion(https, upload):
    assert https.request("HEAD", UPLOADS + upload).status == 404
    https.request("PUT", UPLOADS + upload, b"12345")
    head = https.request("HEAD", UPLOADS + upload)
    assert head.status == 204, head
    assert (head["Upload-Offset"], head["Upload-Complete"], head["Upload-Length"]) == ("5", "?1", "5"), head
    assert head["Repr-Digest"] == repr_digest(b"12345")
    assert head["Cache-Control"] == "no-store"


def test_delete_of_a_complete_upload_is_refused_and_the_file_stays(https, upload):
    https.request("PUT", UPLOADS + upload, b"keep me")
    assert_problem(https.request("DELETE", UPLOADS + upload), 409)
    assert https.request("GET", UPLOADS + upload).body == b"keep me"


def test_delete_of_an_unknown_upload_is_404(https, upload):
    assert_problem(https.request("DELETE", UPLOADS + upload), 404, "not_found")


def test_delete_ends_a_running_upload_and_its_part(house, https, upload):
    with https.begin_put(UPLOADS + upload) as stream:
        send_chunk(stream, b"x" * 20000)
        wait_until(lambda: https.request("HEAD", UPLOADS + upload).status == 204, "the upload to have begun")
        assert https.request("DELETE", UPLOADS + upload).status == 204
        try:
            stream.sendall(b"0\r\n\r\n")
            assert read_answer(stream, "PUT").status != 201
        except CUT:
            pass
    assert https.request("GET", UPLOADS + upload).status in (404, 410)
    assert https.request("HEAD", UPLOADS + upload).status in (404, 410)
    assert house.stored("restaurant_1", upload) is None
    assert https.request("PUT", UPLOADS + upload, b"anew").status == 201


# downloading


@pytest.fixture
def content(https, upload):
    data = bytes(range(256)) * 40
    assert https.request("PUT", UPLOADS + upload, data, {"Beckon-Path": "/var/log/a%20b.log"}).status == 201
    return data


def test_get_serves_the_file_with_headers_that_disarm_it(https, upload, content):
    answer = https.request("GET", UPLOADS + upload)
    assert answer.status == 200 and answer.body == content
    assert answer["Repr-Digest"] == repr_digest(content)
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")
    assert "a%20b.log" in answer["Content-Disposition"]
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert answer["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("wanted, first, last", [
    ("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=10000-", 10000, 10239), ("bytes=-5", 10235, 10239),
    ("bytes=0-99999999", 0, 10239), ("bytes=-99999999", 0, 10239)])
def test_range_gets_just_that_part(https, upload, content, wanted, first, last):
    answer = https.request("GET", UPLOADS + upload, headers={"Range": wanted})
    assert answer.status == 206, answer
    assert answer["Content-Range"] == f"bytes {first}-{last}/10240"
    assert answer.body == content[first:last + 1]


@pytest.mark.parametrize("wanted", ["bytes=10240-", "bytes=9223372036854775807-", "bytes=-0"])
def test_range_outside_the_file_is_416(https, upload, content, wanted):
    answer = https.request("GET", UPLOADS + upload, headers={"Range": wanted})
    assert answer.status == 416, answer
    assert answer["Content-Range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize("wanted", ["bytes=5-1", "lines=1-2", "bytes=a-b", "bytes=", "bytes=0-1,4-5"])
def test_range_that_is_not_understood_gets_the_whole_file(https, upload, content, wanted):
    answer = https.request("GET", UPLOADS + upload, headers={"Range": wanted})
    assert (answer.status, answer.body) == (200, content)


def test_etag_makes_a_download_resumable(https, upload, content):
    etag = https.request("GET", UPLOADS + upload)["ETag"]
    assert etag.startswith('"')
    same = https.request("GET", UPLOADS + upload, headers={"Range": "bytes=10-19", "If-Range": etag})
    assert (same.status, same.body) == (206, content[10:20])
    other = https.request("GET", UPLOADS + upload, headers={"Range": "bytes=10-19", "If-Range": '"another"'})
    assert (other.status, other.body) == (200, content)
    assert https.request("GET", UPLOADS + upload, headers={"If-None-Match": etag}).status == 304


def test_curl_continues_a_download(house, device, folder, upload, content):
    part = folder / "part"
    part.write_bytes(content[:3000])
    curl("-C", "-", "-o", part, house.receiver_url + UPLOADS + upload, ca=house.pki.ca, identity=device)
    assert part.read_bytes() == content


# who may


def test_another_clients_certificate_sees_nothing_of_it(house, pki, https, upload):
    https.request("PUT", UPLOADS + upload, b"mine")
    stranger = house.https(pki.client("restaurant_2"))
    for method in ("GET", "HEAD", "DELETE"):
        assert stranger.request(method, UPLOADS + upload).status == 404, method
    assert stranger.request("PUT", UPLOADS + upload, b"theirs").status == 201, "equal ids of two clients never meet"
    assert https.request("GET", UPLOADS + upload).body == b"mine"
    assert stranger.request("GET", UPLOADS + upload).body == b"theirs"


def test_without_a_certificate_nothing_is_read_or_stored(house, upload):
    nobody = house.https()
    for method in ("GET", "HEAD", "DELETE"):
        assert nobody.request(method, UPLOADS + upload).status in (401, 403), method
    with nobody.begin_put(UPLOADS + upload, {"Expect": "100-continue"}) as stream:
        answer = read_answer(stream, "PUT")
    assert_problem(answer, 401, "unauthenticated")
    assert not list(house.store.rglob(f"*{upload}*"))


def test_coordinators_certificate_may_read_but_operators_may_not(house, pki, https, upload):
    https.request("PUT", UPLOADS + upload, b"content")
    assert house.https(pki.service("operator")).request("GET", UPLOADS + upload).status in (401, 403, 404)


# hostile names


@pytest.mark.parametrize("path", [
    "/", ".", "..", "../../../../etc/passwd", "/a/..", "a%2F..%2Fb", "-rf", "with%0Anewline", "nul%00byte", "%FF%FE",
    "con%1B%5B2J", "x" * 300, ".hidden", "a%20b", "%E2%98%83"])
def test_hostile_path_stays_inside_its_folder(house, https, upload, path):
    answer = https.request("PUT", UPLOADS + upload, b"data", {"Beckon-Path": path})
    if answer.status == 201:
        stored = house.stored("restaurant_1", upload)
        assert stored.read_bytes() == b"data" and stored.is_file() and not stored.is_symlink()
        assert stored.resolve().parent == (house.store / "restaurant_1" / upload).resolve()
        assert all(character.isprintable() for character in stored.name) and not stored.name.startswith("-")
        record = json.loads((house.store / "restaurant_1" / f"{upload}.json").read_text())
        assert record["size"] == 4
    else:
        assert_problem(answer, 400, "invalid_argument")
        assert_nothing_stored(house, https, upload)


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%2fb", "a/b", "x" * 65, "a.b", "a%00", "%C3%A9", ""])
def test_id_that_is_not_one_is_refused(house, https, name):
    before = sorted(house.store.rglob("*"))
    with https.connect() as stream:
        stream.sendall(f"PUT {UPLOADS}{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndata".encode())
        answer = read_answer(stream, "PUT")
    assert answer.status in (400, 404, 405), answer
    assert sorted(house.store.rglob("*")) == before


# limits


def test_too_large_is_413_before_the_body(house, https, upload):
    with https.begin_put(UPLOADS + upload, {"Upload-Length": 1048577, "Expect": "100-continue"}) as stream:
        answer = read_answer(stream, "PUT")
    assert_problem(answer, 413, "resource_exhausted")
    assert "1048576" in answer["Upload-Limit"], answer
    assert_nothing_stored(house, https, upload)


def test_too_large_without_a_stated_length_is_not_stored(house, https, upload):
    try:
        answer = https.put_chunked(UPLOADS + upload, b"x" * 1200000)
        assert answer.status == 413, answer
    except CUT:
        pass  # before all was sent
    wait_until(lambda: https.request("GET", UPLOADS + upload).status == 404, "the upload to be refused")
    assert house.stored("restaurant_1", upload) is None


def test_one_client_has_a_limited_number_of_open_uploads(house, pki, upload):
    greedy = house.https(pki.client("greedy"))
    streams = []
    try:
        for number in range(16):
            streams.append(greedy.begin_put(f"{UPLOADS}{upload}{number}"))
            send_chunk(streams[-1], b"x")
        wait_until(lambda: all(greedy.request("HEAD", f"{UPLOADS}{upload}{number}").status == 204 for number in range(16)),
                   "16 uploads to be open")
        with greedy.begin_put(UPLOADS + upload, {"Expect": "100-continue"}) as one_more:
            answer = read_answer(one_more, "PUT")
        assert_problem(answer, 429, "resource_exhausted")
        assert int(answer["Retry-After"]) > 0
        other = house.https(pki.client("restaurant_1"))
        assert other.request("PUT", UPLOADS + upload, b"x").status == 201, "another client is not concerned"
    finally:
        for stream in streams:
            stream.close()


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
def test_health_needs_no_certificate(house, path):
    answer = house.https().request("GET", path)
    assert answer.status == 200 if path != "/readyz" else answer.status in (200, 503), answer


def test_unknown_method_and_path_are_refused(https, upload):
    assert https.request("TRACE", UPLOADS + upload).status in (405, 501)
    assert https.request("GET", "/nothing").status == 404


def test_clients_stalling_in_the_tls_handshake_cost_no_cpu(house, https, upload):
    hello = bytes.fromhex("16030100c8010000c40303")  # the beginning of a ClientHello that says 200 bytes will follow
    stalled = [socket.create_connection(("127.0.0.1", house.receiver_port)) for _ in range(12)]
    try:
        for index, client in enumerate(stalled):
            client.sendall(hello[:index])
        before = cpu_seconds(house.receiver.pid)
        threading.Event().wait(3)  # what is measured is this time
        used = cpu_seconds(house.receiver.pid) - before
        assert used < 0.5, f"{used} s of CPU in 3 s"  # one that spins takes all of them; TLS and threads begin in them
        assert https.request("PUT", UPLOADS + upload, b"x").status == 201, "others are served meanwhile"
    finally:
        for client in stalled:
            client.close()
