"""tus-js-client from npm, unmodified, in its mode for the IETF draft: the receiver is for other people's clients too."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.curl import curl
from harness.npm import install
from harness.waiting import SANITIZED, SLOWNESS

HERE = Path(__file__).parent / "tus"
SIZE = (20 if SANITIZED else 200) * 1024 * 1024


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A folder with the client in it, as package-lock.json names it."""
    return install(HERE, tmp_path_factory.mktemp("tus"))


@pytest.fixture(scope="module")
def house(shared_house):
    shared_house.start_broker()
    shared_house.start_receiver()
    return shared_house


@pytest.fixture
def source(folder):
    path = folder / "source.bin"
    with open(path, "wb") as file:
        for _ in range(SIZE // (1024 * 1024)):
            file.write(os.urandom(1024 * 1024))
    return path


def run_client(client, house, pki, source, **target):
    cert, key = pki.client("restaurant_1")
    options = {"file": str(source), "ca": str(pki.ca), "cert": str(cert), "key": str(key), "abortAt": SIZE // 2, **target}
    done = subprocess.run(["node", "upload.mjs", json.dumps(options)], cwd=client, capture_output=True, text=True,
                          timeout=120 * SLOWNESS, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_arrived(house, source, url):
    stored = house.stored("restaurant_1", url.rstrip("/").rsplit("/", 1)[1])
    assert stored is not None and stored.read_bytes() == source.read_bytes()


def test_new_upload_is_made_interrupted_and_resumed(client, house, pki, source):
    said = run_client(client, house, pki, source, endpoint=f"{house.receiver_url}/v1/uploads")
    assert said["aborted"]
    methods = [method for method, _ in said["requests"]]
    assert methods[0] == "POST" and "HEAD" in methods and methods[-1] == "PATCH", said
    assert_arrived(house, source, said["url"])


def test_upload_that_curl_began_is_finished_by_its_url(client, house, pki, source):
    url = f"{house.receiver_url}/v1/uploads/begun-by-curl"
    began = curl("-X", "PUT", "-H", "Upload-Complete: ?0", "-H", f"Upload-Length: {SIZE}", "--data-binary", "@-", url,
                 ca=pki.ca, identity=pki.client("restaurant_1"), stdin=source.read_bytes()[:1_000_000])
    assert began.status == 201 and began["Upload-Offset"] == "1000000", began
    said = run_client(client, house, pki, source, uploadUrl=url)
    assert said["aborted"]
    assert [method for method, _ in said["requests"]][0] == "HEAD", said
    assert_arrived(house, source, url)
