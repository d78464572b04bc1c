"""curl as a user would type it."""

import email
import json
import subprocess

from . import contract


class CurlAnswer:
    def __init__(self, head, body):
        status_line, _, fields = head.partition("\r\n")
        self.status = int(status_line.split()[1])
        self.headers = email.message_from_string(fields)
        self.body = body

    def __getitem__(self, header):
        return self.headers.get(header)

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:300]!r}>"


def curl(*words, ca, identity=None, stdin=None):
    """Runs curl against the receiver; returns its final answer. Fails if curl does."""
    command = ["curl", "-sS", "--max-time", "120", "--noproxy", "*", "-D", "-", "--cacert", str(ca),
               "-w", "%{stderr}%{method} %{url_effective}"]
    if identity:
        command += ["--cert", str(identity[0]), "--key", str(identity[1])]
    result = subprocess.run(command + [str(word) for word in words], input=stdin, capture_output=True, check=False)
    assert result.returncode == 0, f"curl {words}: {result.returncode} {result.stderr.decode()}"
    rest = result.stdout
    while True:  # skip "100 Continue"
        head, _, rest = rest.partition(b"\r\n\r\n")
        if not head.split()[1].startswith(b"1"):
            break
    answer = CurlAnswer(head.decode("latin-1"), rest)
    method, url = result.stderr.decode().split()
    contract.check_answer("openapi-receiver", method, url, None, answer)
    return answer
