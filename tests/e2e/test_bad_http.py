"""Requests that no honest client sends, over TLS with a device's certificate and without: each gets the right status or a closed
connection, none is taken for another request, nothing is stored, nobody dies."""

import re

import pytest

from harness.https import repr_digest
from harness.process import rss_kb
from harness.rawhttp import CLOSED, WAITS, send
from harness.waiting import SANITIZED, wait_until

BODY = b"hello, receiver"
CHUNK = b"f\r\nhello, receiver\r\n"
END = b"0\r\n\r\n"
CHUNKED = ("Transfer-Encoding", "chunked")
SIZED = ("Content-Length", "15")
MAX_SIZE = 1000000
BAD = (400, CLOSED)


def request(*fields, body=b"", method="PUT", path="/v1/uploads/ID", version="HTTP/1.1", host="receiver", end=b"\r\n"):
    """fields: (name, value) or raw lines."""
    lines = [f"{method} {path} {version}".encode()] + ([f"Host: {host}".encode()] if host is not None else [])
    for field in fields:
        lines.append(field if isinstance(field, bytes) else f"{field[0]}: {field[1]}".encode())
    return b"".join(line + end for line in lines) + end + body


def chunked(*fields, body=CHUNK + END, **more):
    return request(CHUNKED, *fields, body=body, **more)


def sized(*fields, body=BODY, **more):
    return request(("Content-Length", len(body)), *fields, body=body, **more)


def patch(*fields, body=BODY):
    return sized(("Content-Type", "application/partial-upload"), *fields, body=body, method="PATCH")


def trailer(lines, *fields):
    return chunked(*fields, body=CHUNK + b"0\r\n" + lines + b"\r\n")


CASES = {}


def add(group, expected, *data):
    """Each of data is a request; ID in it becomes an id of its own."""
    for one in data:
        number = sum(name.startswith(group + "-") for name in CASES)
        CASES[f"{group}-{number}"] = (one, expected if isinstance(expected, tuple) else (expected,))


# chunks

for size in (b"-1", b"-f", b"+f", b"0xf", b"f ", b" f", b"\tf", b"f\t", b"g", b"", b"f.0", b"1e1x", b"\xc3\xa9", b"f,", b"f f", b"0x",
             b"--", b"z" * 1000, b"f\x00", b"\x00f", b"f\x0b", b"''", b"15h", b"%66", b"-0", b"+0", b"-0000000000000001"):
    add("chunk-size", BAD, chunked(body=size + b"\r\n" + BODY + b"\r\n" + END))
for size in (b"10000000000000000", b"fffffffffffffffff", b"1" + b"0" * 40, b"80000000000000000", b"f" * 64, b"f" * 5000):
    add("chunk-overflow", (400, 413), chunked(body=size + b"\r\n" + BODY + b"\r\n" + END))
add("chunk-large", (413, CLOSED, WAITS), *[chunked(body=size + b"\r\n" + BODY) for size in
                                           (b"ffffffffffffffff", b"7fffffffffffffff", b"8000000000000000", b"ffffffff", b"100000000")])
add("chunk-short", BAD, chunked(body=b"5\r\n" + BODY + b"\r\n" + END), chunked(body=b"e\r\n" + BODY + b"\r\n" + END),
    chunked(body=b"f\r\n" + BODY + END), chunked(body=b"f\r\n" + BODY + b"\r0\r\n\r\n"), chunked(body=b"f\r\n" + BODY + b"xx" + END),
    chunked(body=b"f\r\n" + BODY + b"\n\r" + END), chunked(body=b"f" + BODY + b"\r\n" + END), chunked(body=b"1\r\nab\r\n" + END),
    chunked(body=b"f\r\r\n" + BODY + b"\r\n" + END), chunked(body=b"f\r" + BODY + b"\r\n" + END), chunked(body=b"\r\n" + CHUNK + END),
    chunked(body=b"\n" + CHUNK + END), chunked(body=b"\r\n\r\n" + END))
add("chunk-unfinished", WAITS, chunked(body=b""), chunked(body=b"f"), chunked(body=b"f\r"), chunked(body=b"f\r\n"), chunked(body=CHUNK),
    chunked(body=b"f\r\n" + BODY), chunked(body=b"10\r\n" + BODY), chunked(body=CHUNK + b"0"), chunked(body=CHUNK + b"0\r\n"),
    chunked(body=CHUNK + b"0\r\nA: b\r\n"), chunked(body=CHUNK + b"0\r\nA"), chunked(body=b"f;ext=" + b"x" * 1000), chunked(body=CHUNK[:5]))
add("chunk-extension", (400, 413, 431, 500, CLOSED), *[chunked(body=b"f;x=" + b"y" * size + b"\r\n" + BODY + b"\r\n" + END) for size in (70000, 1000000)],
    chunked(body=b"f;" + b";" * 100000 + b"\r\n" + BODY + b"\r\n" + END))
add("chunk-extension-bad", BAD, chunked(body=b";x=y\r\n" + BODY + b"\r\n" + END), chunked(body=b" ;x\r\n" + BODY + b"\r\n" + END))

# lengths and codings

for value in ("-1", "+15", "0x0f", "15 ", "1 5", "15,15", "15, 15", "15;15", "abc", "", "1e1", "15.0", "١٥", "15\x0b", "\x0015", "--15", "15-", "15\t16",
              "nan", "0x", "'15'", "\"15\"", "15h", "015x", "%31%35"):
    add("length", BAD, request(("Content-Length", value), body=BODY))
for value in ("18446744073709551616", "99999999999999999999", "9" * 100, "1" + "0" * 400):
    add("length-overflow", (400, 413), request(("Content-Length", value), body=BODY))
add("length-too-large", (400, 413), *[request(("Content-Length", value), body=BODY) for value in
                                      (2 * MAX_SIZE, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 10**15, 10**15 - 1)])
add("length-twice", 400, request(SIZED, SIZED, body=BODY), request(SIZED, ("Content-Length", "0"), body=BODY),
    request(("Content-Length", "0"), SIZED, body=BODY), request(SIZED, ("content-length", "14"), body=BODY),
    request(SIZED, ("CONTENT-LENGTH", "15"), body=BODY), request(SIZED, ("Content-Length", "x"), body=BODY),
    request(SIZED, ("Content-Length", ""), body=BODY), request(SIZED, ("Content-Length", "-15"), body=BODY))
add("both", 400, request(SIZED, CHUNKED, body=CHUNK + END), request(CHUNKED, SIZED, body=CHUNK + END),
    request(CHUNKED, ("Content-Length", "0"), body=CHUNK + END), request(("Content-Length", "25"), CHUNKED, body=CHUNK + END),
    request(("transfer-encoding", "CHUNKED"), ("content-length", "3"), body=CHUNK + END), request(SIZED, ("Transfer-Encoding", "identity"), body=BODY),
    request(SIZED, ("Transfer-Encoding", "gzip"), body=BODY), request(("Content-Length", "x"), CHUNKED, body=CHUNK + END),
    request(SIZED, ("Transfer-Encoding", ""), body=BODY), request(("Content-Length", "0"), CHUNKED, body=END))
for value in ("gzip", "identity", "deflate", "compress", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked;q=1", "xchunked", "chunkedx",
              "chunked,", ", chunked", "\"chunked\"", "x chunked", "chunked x", "chunk", "", "br", "chunked\tx", "chu nked", "cow", "chunked;", "identity, chunked"):
    add("coding", (501, 400), request(("Transfer-Encoding", value), body=CHUNK + END))
add("coding-twice", 400, request(CHUNKED, CHUNKED, body=CHUNK + END), request(CHUNKED, ("Transfer-Encoding", "gzip"), body=CHUNK + END),
    request(("Transfer-Encoding", "gzip"), CHUNKED, body=CHUNK + END), request(CHUNKED, ("Transfer-Encoding", ""), body=CHUNK + END),
    request(CHUNKED, ("transfer-encoding", "identity"), body=CHUNK + END))
add("coding-hidden", BAD, request(b"Transfer-Encoding : chunked", body=CHUNK + END), request(b"Transfer-Encoding\t: chunked", body=CHUNK + END),
    request(b" Transfer-Encoding: chunked", body=CHUNK + END), request(b"Transfer-Encoding:\x0bchunked", body=CHUNK + END),
    request(b"Transfer-Encoding: chunked\x00", body=CHUNK + END), request(b"Transfer-Encoding: \x00chunked", body=CHUNK + END),
    request(b"Transfer-Encoding\x00: chunked", body=CHUNK + END), request(b"Transfer-Encoding:\r\n chunked", body=CHUNK + END),
    request(b"X: y\rTransfer-Encoding: chunked", body=CHUNK + END), request(b"\x00Transfer-Encoding: chunked", body=CHUNK + END),
    request(b"X: y\x00\r\nTransfer-Encoding: chunked", body=CHUNK + END), request(b"Transfer_Encoding:chunked\r\nContent-Length : 15", body=BODY),
    request(b"Transfer-Encoding: chunked\r\n , gzip", body=CHUNK + END), request(b"Transfer-Encoding: chunked\x7f", body=CHUNK + END))
add("old-version", 400, chunked(version="HTTP/1.0"), chunked(version="HTTP/1.0", host=None), chunked(("Connection", "keep-alive"), version="HTTP/1.0"))
add("body-short", WAITS, request(("Content-Length", "16"), body=BODY), request(SIZED, body=BODY[:-1]), request(SIZED), request(("Content-Length", "999999"), body=BODY))

# fields

add("fold", BAD, request(SIZED, b"X: a\r\n b", body=BODY), request(SIZED, b"X: a\r\n\tb", body=BODY), request(b"Content: 0\r\n -Length: x", body=b""),
    request(b"Content-Length: 1\r\n 5", body=BODY), request(b"Content: 15\r\n -Length", body=BODY), request(b"X:\r\n y", SIZED, body=BODY),
    request(b" X: y", SIZED, body=BODY), request(b"\tX: y", SIZED, body=BODY), request(SIZED, b"X: a\r\n b\r\n c\r\n d", body=BODY),
    request(SIZED, b"Upload: 0\r\n -Offset", body=BODY), request(SIZED, b"X: a\r\n ", body=BODY), request(SIZED, b"X: a\r\n \r\n b", body=BODY))
add("nul", BAD, request(SIZED, b"X: a\x00b", body=BODY), request(SIZED, b"X\x00Y: a", body=BODY), request(SIZED, b"\x00", body=BODY),
    request(b"Content-Length: 15\x009", body=BODY), request(b"Content-Length: 15\x00", ("X", "y"), body=BODY), request(b"X: \x00\x00", SIZED, body=BODY),
    request(b"X: y\x00Content-Length: 15", SIZED, body=BODY), b"\x00" + sized(), b"P\x00UT /v1/uploads/ID HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n" + BODY,
    sized(path="/v1/uploads/ID\x00x"), sized(path="/v1/uploads/ID?a=b\x00c"), sized(version="HTTP/1.1\x00"), sized(path="/v1/uploads/ID\x00x?y=z"),
    sized(path="/v1/uploads/ID\x00"), sized(path="/v1/uploads/ID?a=b\x00"), sized(path="/v1/uploads/ID?a\x00"), sized(path="/v1/uploads/ID?"))
add("control-in-target", BAD, *(sized(path=f"/v1/uploads/ID{c}") for c in ("\r", "\rx", " x", "\t", "\x7f", "?a\rb", "?a=\rb", "?a=b\tc", "?a\tb", "?a=\x1b", "?\x01")))
for name in (b"", b"X Y", b"X\tY", b"X(", b"X)", b"X<", b"X@", b"X,", b"X;", b"X/", b"X[", b"X?", b"X=", b"X{", b"X\"", b"X\\", b"\xc3\xa9", b"X\x01", b"X\x7f", b"X\r",
             b"Content-Length\xa0", b"\xef\xbb\xbfX"):
    add("name", BAD, request(SIZED, name + b": y", body=BODY))
for value in (b"\x01", b"a\x08b", b"a\rb", b"a\x0bb", b"a\x0cb", b"\x1b[31m", b"a\x7fb", b"\x1f"):
    add("value", BAD, request(SIZED, b"X: " + value, body=BODY))
add("no-colon", BAD, request(SIZED, b"X", body=BODY), request(SIZED, b"X y", body=BODY), request(b"X", body=BODY), request(SIZED, b"GET / HTTP/1.1", body=BODY))
add("host", BAD, sized(host=None), request(("Host", "another"), SIZED, body=BODY), request(("host", "receiver"), SIZED, body=BODY))
add("twice", 400, *[sized((name, value), (name.lower(), value)) for name, value in
                    (("Upload-Offset", "0"), ("Upload-Length", "15"), ("Upload-Complete", "?1"), ("Repr-Digest", repr_digest(BODY)), ("Beckon-Path", "/x"),
                     ("Beckon-Attempt", "1"), ("Content-Type", "a/b"), ("Expect", "100-continue"), ("Authorization", "Bearer x"), ("Content-Encoding", "identity"),
                     ("Content-Digest", repr_digest(BODY)), ("Upload-Draft-Interop-Version", "8"), ("Range", "bytes=0-1"), ("X-Unknown", "y"))])
add("too-long", (431, 400, CLOSED), *[sized(("X", "y" * size)) for size in (33000, 64000, 70000, 200000, 1000000)],
    sized(("X" * 40000, "y")), request(SIZED, b"X" * 100000, body=BODY))
add("too-many", (431, CLOSED), *[request(SIZED, *[(f"X-{i}", "y") for i in range(count)], body=BODY) for count in (100, 500, 1000, 5000, 20000)])
add("too-long-url", (414, 431, 400, CLOSED), *[sized(path="/v1/uploads/" + "x" * size) for size in (33000, 65000, 100000, 1000000)],
    sized(path="/v1/uploads/ID?" + "a=b&" * 20000), sized(path="/v1/uploads/ID?" + "x" * 70000))
add("expectation", 417, *[sized(("Expect", value)) for value in ("200-ok", "", "100-continue, x", "100", "continue", "100-continue;q=1")])

# the request line

add("line", (*BAD, 505), b"GET\r\n\r\n", b"GET /health\r\n\r\n", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", b" GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /health HTTP/1.1 x\r\nHost: a\r\n\r\n", b"GET /health HTTP/1.1\x0b\r\nHost: a\r\n\r\n", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET\t/health\tHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /health http/1.1\r\nHost: a\r\n\r\n", b"GET /health HTTP/1.1.1\r\nHost: a\r\n\r\n", b"GET /health HTTP/11\r\nHost: a\r\n\r\n", b"GET /health HTTP/1.\r\nHost: a\r\n\r\n",
    b"GET /health HTTPS/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\xff" * 100 + b"\r\n\r\n", b"GET /health HTTP/-1.1\r\nHost: a\r\n\r\n",
    b": \r\n\r\n", b"GET /health HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", b"/health GET HTTP/1.1\r\nHost: a\r\n\r\n")
add("version", (505, *BAD), *[sized(version=version) for version in ("HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/1", "HTTP/", "", "HTTP/1.1x", "HTTP/a.b", "HTP/1.1", "HTTP/01.1")])
add("preface", (505, *BAD), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
add("method", (404, 405, 501, *BAD), *[sized(method=method) for method in ("put", "Put", "PUTT", "TRACE", "CONNECT", "BREW", "PROPFIND", "P U T", "", "M" * 5000, "PUT\x01", "(PUT)", "PATCH2", "POST")])
add("target", (404, 405, *BAD), *[sized(path=path) for path in
    ("/v1/uploads/../x", "/v1/uploads/..", "/v1/uploads/.", "/v1/uploads/%2e%2e", "/v1/uploads/a%2fb", "/v1/uploads/%2e%2e%2fx", "/v1/uploads/..%2f..%2fetc%2fpasswd", "/v1/uploads/a/b",
     "/v1/uploads//a", "//v1/uploads/a", "/v1//uploads/a", "/V1/uploads/a", "/v1/uploads/a%00", "/v1/uploads/%61", "/v1/uploads/a%0d%0aX:y", "/v1/uploads/a\\b", "/v1/uploads/a;b",
     "/v1/uploads/" + "x" * 65, "/v1/uploads/a.b", "/v1/uploads/é", "/v1/uploads/a b", "/v1/uploads/restaurant_2/a", "/v1/uploads/~", "/v1/uploads/*", "*", "https://receiver/v1/uploads/a",
     "receiver:8443", "/", "", "/v1/uploads/a#b", "/v1/uploads/%", "/v1/uploads/%zz", "/v1/uploads/a%", "/etc/passwd", "/../../etc/passwd", "/v1/uploads/\x01", "/.incoming/a", "/v1/uploads/+")])

# what the upload's own fields say

for value in ("-1", "+1", "0x1", "1e1", "1.0", "", "abc", "9" * 16, "18446744073709551616", "1 2", "1,2", "?1", "\"1\"", "1;a=b", "١", "00x"):
    add("offset", 400, patch(("Upload-Offset", value)))
    add("upload-length", 400, sized(("Upload-Length", value)))
for value in ("-1", "abc", "9" * 20, "1.5", ""):
    add("attempt", 400, sized(("Beckon-Attempt", value)))
add("offset-missing", 400, patch())
add("offset-absent-upload", 404, patch(("Upload-Offset", "0")), patch(("Upload-Offset", "5")))
add("offset-of-put", 400, sized(("Upload-Offset", "5")), sized(("Upload-Offset", "15")), chunked(("Upload-Offset", "1")))
add("length-lie", 400, sized(("Upload-Length", "14")), sized(("Upload-Length", "16")), sized(("Upload-Length", "0")), chunked(("Upload-Length", "14")),
    chunked(("Upload-Length", "16")), chunked(("Upload-Length", "0")), chunked(("Upload-Length", "1000000")), sized(("Upload-Length", "14"), ("Upload-Complete", "?0")))
add("length-over-limit", 413, sized(("Upload-Length", str(MAX_SIZE + 1)), ("Upload-Complete", "?0")), chunked(("Upload-Length", str(10**14))), chunked(("Upload-Length", "999999999999999"), ("Upload-Complete", "?0")))
for value in ("1", "0", "true", "?2", "?", "?1;a", "?01", "", "??1", "? 1", "?1, ?0", "?T"):
    add("complete", 400, sized(("Upload-Complete", value)))
for value in ("sha-256", "sha-256=", "sha-256=abc", "sha-256=:abc:", "sha-256=::", "sha-256=:" + "A" * 43 + ":", "sha-256=:" + "A" * 44 + ":", "sha-256=:" + "!" * 44 + ":", "=", ",", "sha-256=?1", "sha-256=:" + "A" * 10000 + ":",
              repr_digest(BODY)[:-1], "sha-256=" + "A" * 44, "sha-256=\"x\"", repr_digest(b"other")):
    add("digest", 400, sized(("Repr-Digest", value)), sized(("Content-Digest", value)), trailer(f"Repr-Digest: {value}\r\n".encode()))
for value in ("%", "%zz", "%ff", "%00", "%c3%28", "", "%ed%a0%80", "a%0", "x" * 5000):
    add("path", 400, sized(("Beckon-Path", value)))
add("kind", (400, 415), sized(("Content-Encoding", "gzip")), sized(("Content-Encoding", "br")), sized(("Content-Range", "bytes 0-14/15")), sized(("Content-Range", "x")),
    sized(("Content-Type", "text/plain"), ("Upload-Offset", "0"), method="PATCH"), sized(("Upload-Offset", "0"), method="PATCH"),
    sized(("Content-Type", "application/partial-uploadx"), ("Upload-Offset", "0"), method="PATCH"))
add("interop", 400, *[sized(("Upload-Draft-Interop-Version", value)) for value in ("3", "7", "9", "x", "", "-8", "08")])

# trailers

add("trailer", BAD, trailer(b"no colon\r\n"), trailer(b": x\r\n"), trailer(b" X: y\r\n"), trailer(b"X : y\r\n"), trailer(b"X: y\r\n z\r\n"), trailer(b"X: a\x00b\r\nY: z\r\n"),
    trailer(b"X: \x01\r\n"), trailer(b"X(: y\r\n"), trailer(b"X: a\rb\r\n"), trailer(b"Upload\r\n -Length: 15\r\n"), trailer(b"\xff: y\r\n"))
for name in ("Content-Length", "Transfer-Encoding", "Host", "Authorization", "Trailer", "TE", "Content-Encoding", "Content-Type", "Content-Range", "Expect", "Connection", "Range"):
    add("trailer-forbidden", 400, trailer(f"{name}: 15\r\n".encode()), trailer(f"{name.lower()}: chunked\r\n".encode(), ("Trailer", name)))
add("trailer-twice", 400, trailer(f"Repr-Digest: {repr_digest(BODY)}\r\n".encode() * 2), trailer(b"X: y\r\nx: z\r\n"))
add("trailer-too-many", (431, 400, CLOSED), *[trailer(b"".join(b"X-%d: y\r\n" % i for i in range(count))) for count in (101, 1000, 10000)])
add("trailer-too-long", (431, 400, 413, 500, CLOSED), *[trailer(b"X: " + b"y" * size + b"\r\n") for size in (70000, 1000000)], trailer(b"X" * 100000 + b"\r\n"))
add("trailer-digest-clash", 400, trailer(f"Repr-Digest: {repr_digest(b'other')}\r\n".encode(), ("Repr-Digest", repr_digest(BODY))))

# Correct, though strange: these must go through, or the rest proves nothing.
GOOD = {
    "plain": sized(), "chunks": chunked(), "upper case": chunked(body=b"F\r\n" + BODY + b"\r\n" + END), "leading zeros": chunked(body=b"00000f\r\n" + BODY + b"\r\n000\r\n\r\n"),
    "extension": chunked(body=b"f;name=value\r\n" + BODY + b"\r\n0;last\r\n\r\n"), "extension with quotes": chunked(body=b'f;a="b;c"\r\n' + BODY + b"\r\n" + END),
    "many small chunks": chunked(body=b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + END), "trailer": trailer(f"Repr-Digest: {repr_digest(BODY)}\r\n".encode()),
    "unknown trailer": trailer(b"X-Unknown: y\r\nX-Other:\r\n"), "no space": request(b"Content-Length:15", body=BODY), "spaces": request(b"Content-Length: \t  15", body=BODY),
    "names in capitals": request(b"CONTENT-LENGTH: 15", body=BODY), "CHUNKED": request(("TRANSFER-ENCODING", "Chunked"), body=CHUNK + END),
    "empty value": sized(b"X:"), "value with a tab and Latin-1": sized(b"X: a\tb \xe9"), "lists twice": sized(("Accept", "a/b"), ("Accept", "c/d"), ("Via", "x"), ("Via", "y")),
    "query": sized(path="/v1/uploads/ID?a"), "query with a value": sized(path="/v1/uploads/ID?a=b&c"), "old": sized(version="HTTP/1.0", host=None),
    "long but allowed": sized(("X", "y" * 20000)), "many but allowed": sized(*[(f"X-{i}", "y") for i in range(90)]), "expects": sized(("Expect", "100-continue")),
    "cookies": sized(("Cookie", "a=b; c=d; e=" + "f" * 3000)), "empty line before": b"\r\n" + sized(), "lower version": sized(version="HTTP/1.2"),
}


def named(data, name):
    return data.replace(b"ID", re.sub("[^A-Za-z0-9]", "-", name).encode(), 1)


@pytest.fixture(scope="module")
def house(shared_house, pki):
    shared_house.start_broker()
    shared_house.start_receiver({"limits": {"max_size": str(MAX_SIZE), "connections_per_client": "0"}})
    shared_house.start_coordinator()
    return shared_house


@pytest.fixture(scope="module")
def device(house, pki):
    return house.https(pki.client("restaurant_1"))


@pytest.mark.parametrize("name", CASES)
def test_bad_request(house, device, name):
    data, expected = CASES[name]
    quiet_s = 20 if WAITS not in expected else 0.3
    answer = send(device, named(data, "bad-" + name), quiet_s=quiet_s)
    assert answer.status in expected, answer
    assert house.stored("restaurant_1", "bad-" + name) is None
    if name.partition("-")[0] in ("chunk", "both", "coding", "fold", "nul", "old", "line", "version"):
        assert answer.status == WAITS or answer.closes(), answer


def test_there_are_enough_of_them_and_none_was_stored(house):
    assert len(CASES) >= 300
    assert house.stored_files() == [] and not list(house.store.glob("restaurant_*/*"))


@pytest.mark.parametrize("name", GOOD)
def test_strange_but_correct_request(house, device, name):
    answer = send(device, named(GOOD[name], "good-" + name), quiet_s=20)
    assert answer.status == 201, answer
    assert house.stored("restaurant_1", "good-" + re.sub("[^A-Za-z0-9]", "-", name)).read_bytes() == BODY


# without a certificate, and reading


STRANGER = {
    "put": sized(), "chunks": chunked(), "get": request(method="GET"), "head": request(method="HEAD"), "delete": request(method="DELETE"),
    "options": request(method="OPTIONS"), "root": request(method="GET", path="/"), "nothing": request(method="GET", path="/nothing"),
    "list": request(method="GET", path="/v1/uploads"), "post": sized(method="POST", path="/v1/uploads"), "bad id": sized(path="/v1/uploads/a.b"),
    "metrics": request(method="GET", path="/metrics"), "trace": request(method="TRACE", path="/"), "unknown": request(method="BREW", path="/v1/uploads/x"),
    "dots": request(method="GET", path="/v1/uploads/../../etc/passwd"), "bearer": sized(("Authorization", "Bearer x.y.z")),
    "bad ticket": request(method="GET", path="/v1/uploads/x?ticket=x.y.z"), "empty ticket": request(method="GET", path="/v1/uploads/x?ticket="),
    "no ticket": request(method="GET", path="/v1/uploads/x?client=restaurant_1"), "forwarded": request(("X-Forwarded-User", "restaurant_1"), method="GET"),
}


@pytest.mark.parametrize("name", STRANGER)
def test_stranger_is_told_nothing(house, name):
    answer = send(house.https(), named(STRANGER[name], "x"), quiet_s=20, has_body=name != "head")
    assert answer.status in (401, 403), answer
    assert not re.search(rb"(?i)microhttpd|gnutls|beckon/|/v1|server:|0\.\d+\.\d+|restaurant|store", answer.data.replace(b"receiver.test", b"")), answer


@pytest.mark.parametrize("name", [name for name in CASES if name.partition("-")[0] in ("chunk", "both", "coding", "fold", "nul", "name", "too", "line")][::4])
def test_bad_request_of_a_stranger(house, name):
    data, expected = CASES[name]
    answer = send(house.https(), named(data, "bad-" + name), quiet_s=20 if WAITS not in expected else 0.3)
    assert answer.status in (401, *expected), answer


RANGES = ["bytes=-", "bytes=--1", "bytes=0x0-1", "bytes=1-0", "bytes=0-1,2-3", "bytes=99999999999999999999-", "bytes=-99999999999999999999", "bytes=0-99999999999999999999",
          "bytes=18446744073709551615-", "bytes=-18446744073709551615", "bytes=15-", "bytes=-0", "bytes= 0-1", "bytes=0-1;", "chars=0-1", "bytes", "=", "bytes=\xff-"]


@pytest.mark.parametrize("value", RANGES)
def test_bad_range_gives_the_whole_a_part_or_416(house, device, value):
    send(device, named(sized(), "ranges"), quiet_s=20)
    answer = send(device, named(request(("Range", value), method="GET"), "ranges"), quiet_s=20)
    assert (answer.status, answer.body) in ((200, BODY), (206, BODY)) or answer.status == 416, answer
    assert answer.status != 206 or int(answer.header("Content-Length")) == len(answer.body)


@pytest.mark.parametrize("client", ["", "..", ".", "a/b", "%2e%2e", "..%2f..", "restaurant_1%2f..", "restaurant_1%00", "x" * 65, "+", "%23", "restaurant_1&client=..", "%ff", "-a", "restaurant_1%0a"])
def test_coordinator_names_clients_only(house, pki, client):
    coordinator = house.https(pki.service("coordinator"))
    answer = send(coordinator, request(method="GET", path=f"/v1/uploads/x?client={client}"), quiet_s=20)
    assert answer.status in (400, 404), answer


# one request inside another


SMUGGLED = [
    chunked(body=CHUNK + END), chunked(("X", "y"), body=CHUNK + b"0\r\nTrailer-Field: z\r\n\r\n"), sized(),
]
HIDING = {
    "length beside chunks": lambda inner: request(("Content-Length", len(b"0\r\n\r\n" + inner)), CHUNKED, body=b"0\r\n\r\n" + inner),
    "chunks beside length": lambda inner: request(CHUNKED, ("Content-Length", "4"), body=b"0\r\n\r\n" + inner),
    "two lengths": lambda inner: request(("Content-Length", "0"), ("Content-Length", len(inner)), body=inner),
    "name with a space": lambda inner: request(b"Content-Length : 0", ("Content-Length", len(inner)), body=inner),
    "folded length": lambda inner: request(b"X: y\r\n Content-Length: 0", body=inner),
    "NUL": lambda inner: request(f"Content-Length: 0\x00{len(inner)}".encode(), body=inner),
    "end before its time": lambda inner: request(b": x", ("Content-Length", len(inner)), body=inner),
    "line of NUL": lambda inner: request(b"\x00", ("Content-Length", len(inner)), body=inner),
    "old version": lambda inner: request(CHUNKED, version="HTTP/1.0", body=b"0\r\n\r\n" + inner),
    "unknown coding": lambda inner: request(("Transfer-Encoding", "x"), body=inner),
    "overlong chunk size": lambda inner: chunked(body=b"10000000000000000\r\n\r\n" + inner),
    "chunk without its end": lambda inner: chunked(body=b"1\r\nab0\r\n\r\n" + inner),
    "bad trailer": lambda inner: chunked(body=CHUNK + b"0\r\nX : y\r\n\r\n" + inner),
    "trailer with a length": lambda inner: chunked(body=CHUNK + f"0\r\nContent-Length: {len(inner)}\r\n\r\n".encode() + inner),
    "expectation": lambda inner: request(("Expect", "x"), ("Content-Length", "0"), body=inner),
}


@pytest.mark.parametrize("how", HIDING)
@pytest.mark.parametrize("inner", range(len(SMUGGLED)))
def test_request_hidden_in_another_is_not_obeyed(house, device, how, inner):
    hidden = f"smuggled-{inner}-{re.sub('[^a-z]', '', how)}"
    data = named(HIDING[how](named(SMUGGLED[inner], hidden)), "smuggler")
    answer = send(device, data, quiet_s=20)
    assert answer.status in (400, 413, 417, 501, CLOSED), answer
    assert answer.data.count(b"HTTP/1.1 ") <= 1 and answer.closes(), answer
    assert house.stored("restaurant_1", hidden) is None and not house.parts(hidden)


def test_honest_pipelining_works(house, device):
    with device.connect() as stream:
        stream.sendall(named(sized(), "pipelined-1") + named(chunked(), "pipelined-2") + named(request(method="HEAD"), "pipelined-1"))
        wait_until(lambda: house.stored("restaurant_1", "pipelined-2"), "both to be stored")
        data = b""
        while data.count(b"\r\n\r\n") < 3:
            data += stream.recv(65536)
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", data)] == [201, 201, 204]


# in slices


@pytest.mark.parametrize("slices", [2, 7, 50])
@pytest.mark.parametrize("name", ["chunk-size-0", "chunk-overflow-0", "chunk-short-0", "both-0", "fold-0", "nul-0", "trailer-0", "too-many-0", "trailer-forbidden-0", "coding-hidden-0"])
def test_bad_request_that_comes_in_slices(house, device, name, slices):
    data, expected = CASES[name]
    answer = send(device, named(data, "sliced-" + name), slices, 0.002, quiet_s=20)
    assert answer.status in expected, answer
    assert house.stored("restaurant_1", "sliced-" + name) is None


@pytest.mark.parametrize("name", ["plain", "chunks", "trailer", "many but allowed", "old"])
def test_correct_request_that_comes_byte_by_byte(house, device, name):
    data = named(GOOD[name], "bytewise-" + name)
    answer = send(device, data, len(data), quiet_s=20)
    assert answer.status == 201, answer


# the coordinator's side of the same server


REST = {
    "both": (400, request(SIZED, CHUNKED, method="POST", path="/download", body=CHUNK + END)), "two lengths": (400, request(SIZED, SIZED, method="POST", path="/download", body=BODY)),
    "fold": (BAD, request(b"X: y\r\n z", method="GET", path="/clients")), "nul": (BAD, request(b"X: y\x00z", method="GET", path="/clients")),
    "no host": (BAD, request(method="GET", path="/clients", host=None)), "coding": ((400, 501), request(("Transfer-Encoding", "gzip"), method="POST", path="/download", body=BODY)),
    "name": (BAD, request(b"X : y", method="GET", path="/clients")), "version": ((400, 505, CLOSED), request(method="GET", path="/clients", version="HTTP/2.0")),
    "chunk size": (BAD, chunked(method="POST", path="/download", body=b"-1\r\nx\r\n" + END)), "chunk overflow": ((400, 413), chunked(method="POST", path="/download", body=b"1" + b"0" * 16 + b"\r\n")),
    "trailer": (BAD, chunked(method="POST", path="/download", body=CHUNK + b"0\r\nContent-Length: 5\r\n\r\n")), "long": ((431, 400, CLOSED), request(("X", "y" * 70000), method="GET", path="/clients")),
    "many": ((431, CLOSED), request(*[(f"X-{i}", "y") for i in range(200)], method="GET", path="/clients")), "long url": ((414, 431, CLOSED), request(method="GET", path="/" + "x" * 70000)),
    "two tokens": (400, request(("Authorization", "Bearer wrong"), method="GET", path="/clients")), "expectation": (417, request(("Expect", "x"), ("Content-Length", "2"), method="POST", path="/download", body=b"{}")),
    "length": (BAD, request(("Content-Length", "-2"), method="POST", path="/download", body=b"{}")), "large length": ((400, 413, CLOSED), request(("Content-Length", 2**40), method="POST", path="/download", body=b"{}")),
    "large body": ((413, CLOSED), sized(method="POST", path="/download", body=b"x" * 20000)), "endless body": ((413, CLOSED), chunked(method="POST", path="/download", body=b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"100000\r\n" + b"x" * 1048576 + b"\r\n" + END)),
    "garbage": (400, sized(method="POST", path="/download", body=b"\xff\x00{]")), "deep": (400, sized(method="POST", path="/download", body=b"[" * 16000)), "method": ((404, 405), request(method="BREW", path="/clients")),
    "encoded": (404, request(method="GET", path="/clients/%2e%2e%2fx")), "dots": (404, request(method="GET", path="/clients/../../etc/passwd")), "preface": ((505, *BAD), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "digits": ((200, 400), request(method="GET", path="/downloads?limit=99999999999999999999")), "percent": ((200, 400), request(method="GET", path="/downloads?client=%zz%00")),
}


@pytest.mark.parametrize("name", REST)
def test_bad_request_to_the_coordinator(house, name):
    expected, data = REST[name]
    data = data.replace(b"\r\n", f"\r\nAuthorization: Bearer {house.token}\r\n".encode(), 1)
    answer = send(house.api(), data, quiet_s=20)
    assert answer.status in (expected if isinstance(expected, tuple) else (expected,)), answer
    assert not [row for row in house.downloads() if row["origin"] != "mqtt"], "a request was made of it"


# in the end


def test_nobody_died_or_grew_and_honest_ones_are_served(house, device):
    before = rss_kb(house.receiver.pid)
    for name in list(CASES)[::3]:
        data, expected = CASES[name]
        send(device, named(data, "again-" + name), quiet_s=20 if WAITS not in expected else 0.01)
    assert house.receiver.runs == 1 and house.receiver.alive() and house.coordinator.runs == 1 and house.coordinator.alive()
    assert SANITIZED or rss_kb(house.receiver.pid) < before + 30000
    assert device.put_chunked("/v1/uploads/honest", BODY, trailers={"Repr-Digest": repr_digest(BODY)}).status == 201
    assert not [path for path in house.stored_files() if path.parent.name.startswith(("bad-", "again-", "sliced-", "smuggle"))]
    assert house.api().request("GET", "/health").status == 200
