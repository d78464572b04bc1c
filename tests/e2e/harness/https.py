"""HTTPS as a stranger's client would speak it: free to send trailers, wrong lengths, or half a body.

What comes back is held to the contract (contract.py), where it is known whose answer it is."""

import base64
import hashlib
import http.client
import json
import socket
import ssl

from . import contract

TIMEOUT_S = 60


def repr_digest(data):
    return "sha-256=:" + base64.b64encode(hashlib.sha256(data).digest()).decode() + ":"


def tls_context(ca, identity=None):
    """identity: (certificate, key) or None."""
    context = ssl.create_default_context(cafile=str(ca))
    if identity:
        context.load_cert_chain(*map(str, identity))
    return context


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def __getitem__(self, header):
        return self.headers.get(header)

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:200]!r}>"


class HttpsClient:
    """One request a connection. document: the contract of whom it speaks with, "openapi" or "openapi-receiver"."""

    def __init__(self, port, ca, identity=None, bearer=None, document=None):
        self.port = port
        self.document = document
        self.context = tls_context(ca, identity)
        self.bearer = bearer

    def connect(self, address="127.0.0.1"):
        """From this address."""
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S, source_address=(address, 0))
        try:
            return self.context.wrap_socket(raw, server_hostname="127.0.0.1")
        except BaseException:
            raw.close()
            raise

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=TIMEOUT_S)
        fields = dict(headers or {})
        if self.bearer:
            fields.setdefault("Authorization", f"Bearer {self.bearer}")
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            fields.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, fields)
            return self._checked(method, path, Answer(connection.getresponse()), body)
        finally:
            connection.close()

    def each(self, method, path, bodies):
        """The answers to many requests, over one connection."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=TIMEOUT_S)
        fields = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.bearer}"} if self.bearer else {})}
        try:
            for body in bodies:
                connection.request(method, path, json.dumps(body), fields)
                yield self._checked(method, path, Answer(connection.getresponse()), json.dumps(body))
        finally:
            connection.close()

    def begin_put(self, path, headers=None, method="PUT"):
        """The headers of a chunked PUT (or PATCH); the caller sends chunks and the end with the functions below."""
        stream = self.connect()
        fields = {"Host": f"127.0.0.1:{self.port}", "Transfer-Encoding": "chunked", **(headers or {})}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        stream.sendall(head.encode())
        return stream

    def put_chunked(self, path, data, headers=None, trailers=None, method="PUT"):
        fields = dict(headers or {})
        if trailers:
            fields["Trailer"] = ", ".join(trailers)
        with self.begin_put(path, fields, method) as stream:
            for offset in range(0, len(data), 16384):
                send_chunk(stream, data[offset:offset + 16384])
            end = "0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items()) + "\r\n"
            stream.sendall(end.encode())
            return self._checked(method, path, read_answer(stream, method))

    def _checked(self, method, path, answer, asked=None):
        if self.document:
            contract.check_answer(self.document, method, path, asked, answer)
        return answer


def send_chunk(stream, data):
    stream.sendall(b"%x\r\n%s\r\n" % (len(data), data))


def read_answer(stream, method):
    response = http.client.HTTPResponse(stream, method=method)
    response.begin()
    return Answer(response)
