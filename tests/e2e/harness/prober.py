"""Somebody who asks the coordinator all the time, over one connection and in a process of its own: how long do answers take?"""

import http.client
import json
import select
import subprocess
import sys
import time
from pathlib import Path

PAUSE_S = 0.02


class Prober:
    """Asks for the paths in turn until finish(). prefix: words before the program."""

    def __init__(self, house, prefix, *paths):
        self.process = subprocess.Popen([*prefix, sys.executable, "-B", __file__, str(house.coordinator_port), str(house.pki.ca), *paths],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(house.token + "\n")
        self.process.stdin.flush()

    def finish(self):
        """{path: how long each answer took, in milliseconds, sorted}"""
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return {path: sorted(took) for path, took in json.loads(out).items()}

    def close(self):
        self.process.kill()
        self.process.communicate()


def percentile(values, share):
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def ask(connection, path, token):
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    response.read()
    assert response.status == 200, f"{path}: {response.status}"
    return (time.perf_counter() - begun) * 1000


def main(port, ca, *paths):
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from harness.https import tls_context
    token = sys.stdin.readline().strip()
    connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=tls_context(ca), timeout=60)
    took = {path: [] for path in paths}
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        for path in paths:
            took[path].append(ask(connection, path, token))
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
