"""Free loopback ports that no parallel run of these tests can take away.

They lie below the kernel's ephemeral range, so that no outgoing connection lands on one while its daemon is being
restarted; and each is held by an abstract socket, which vanishes with the test process, however that ends."""

import random
import socket

_held = []


def free_port():
    while True:
        port = random.randrange(20000, 32000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0beckon-e2e-port-{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _held.append(claim)
        return port
