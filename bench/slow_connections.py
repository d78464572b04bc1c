#!/usr/bin/python3
"""How fast an honest upload is while 500 slow connections hang on the receiver, beside how fast it is without them.

    bench/slow_connections.py [--build DIR] [--slow N] [--size MB] [--rounds N]

A third of the slow ones stays in the TLS handshake, a third sends request heads, a third chunked bodies, each a byte every half
second. The honest upload is curl with a device's certificate, from and to the page cache. Rounds alternate; the medians count."""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests" / "e2e"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=ROOT / "build" / "release", type=Path)
    parser.add_argument("--slow", default=500, type=int)
    parser.add_argument("--size", default=1024, type=int, help="MB")
    parser.add_argument("--rounds", default=5, type=int)
    return parser.parse_args()


def main():
    options = arguments()
    os.environ["BECKON_BIN_DIR"] = str((options.build / "bin").resolve())
    from conftest import opened, temporary_folder
    from harness.curl import curl
    from harness.house import House
    from harness.pki import Pki
    from test_open import Crowd

    def upload(house, name):
        began = time.monotonic()
        answer = curl("-T", house.folder / "file", "-H", "Transfer-Encoding: chunked", f"{house.receiver_url}/v1/uploads/{name}", ca=house.pki.ca,
                      identity=house.pki.client("honest"))
        took = time.monotonic() - began
        assert answer.status == 201, answer
        for path in house.stored_files():
            path.unlink()
        return options.size / took

    with temporary_folder() as folder, opened(House(folder, Pki.make(folder / "pki"))) as house:
        with open(folder / "file", "wb") as file:
            for _ in range(options.size):
                file.write(os.urandom(1024 * 1024))
        house.start_broker()
        house.start_receiver({"limits": {"connections": str(options.slow + 100), "connections_per_client": "0", "open_uploads": str(options.slow + 10),
                                         "uploads_per_client": str(options.slow + 10), "idle_timeout": "1h", "min_rate": "0"}, "log": {"level": "info"}})
        upload(house, "warm")
        alone, beside = [], []
        for number in range(options.rounds):
            alone.append(upload(house, f"alone-{number}"))
            crowd = Crowd(house.https(house.pki.client("slow")), house.receiver_port, options.slow)
            beside.append(upload(house, f"beside-{number}"))
            crowd.close()
        ratio = statistics.median(beside) / statistics.median(alone)
        print(f"alone:  {statistics.median(alone):7.1f} MB/s  ({', '.join(f'{speed:.0f}' for speed in alone)})")
        print(f"beside {options.slow} slow ones: {statistics.median(beside):7.1f} MB/s  ({', '.join(f'{speed:.0f}' for speed in beside)})")
        print(f"ratio:  {ratio:.2f}")


main()
