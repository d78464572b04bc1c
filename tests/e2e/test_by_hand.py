"""What docs/protocol.md tells a person to type, typed."""

import hashlib
import os
import re
import subprocess

from harness.https import repr_digest
from harness.pki import ROOT
from harness.process import environment
from harness.proxy import Proxy
from harness.tokens import verify
from harness.waiting import SLOWNESS, wait_until

SIZE = 4_000_000
PER_SECOND = SIZE // 4  # slow enough to be cut in the middle


def commands_with(word):
    """The page's fenced block in which the word is."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    block, = [text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if word in text]
    return block


def test_broken_upload_is_finished_by_the_three_commands_of_the_page(house, upload):
    house.start_broker()
    house.start_receiver()
    observer = house.observer()
    line = house.closing(Proxy(house.receiver_port))
    data = os.urandom(SIZE)
    desk = house.folder / "desk"
    desk.mkdir()
    (desk / "FILE").write_bytes(data)
    (desk / "ca.crt").symlink_to(house.pki.ca)
    for name, target in zip(("client.crt", "client.key"), house.pki.client("restaurant_1")):
        (desk / name).symlink_to(target)
    (desk / ".curlrc").write_text(f"limit-rate = {PER_SECOND}\n")
    script = commands_with("-X PATCH").replace("HOST:8443", f"127.0.0.1:{line.port}").replace("/ID", f"/{upload}")

    with subprocess.Popen(["sh", "-c", script], cwd=desk, env=environment(HOME=str(desk)), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shell:
        wait_until(lambda: line.carried > SIZE // 2, "half of the file to pass")
        line.cut()
        output, errors = shell.communicate(timeout=60 * SLOWNESS)
    said = f"{output}\n{errors}"
    assert shell.returncode == 0, said
    assert re.search(r"^curl: \((52|55|56)\)", errors, re.MULTILINE), f"the first command should have broken: {said}"
    offset = int(re.search(r"^Upload-Offset: (\d+)\r?$", output, re.MULTILINE)[1])
    assert 0 < offset < SIZE, said
    answer = output[output.rindex("HTTP/1.1 200"):]
    assert f"Repr-Digest: {repr_digest(data)}" in answer and "Upload-Complete: ?1" in answer, said
    assert line.carried < 1.5 * SIZE, "only the rest is sent again"
    assert house.stored("restaurant_1", upload).read_bytes() == data

    message = observer.wait_for(f"beckon/v1/restaurant_1/receipt/{upload}")
    claims = verify(message["receipt"], house.pki.token_public("receiver"), "beckon-receipt+jwt")
    assert (claims["sub"], claims["jti"], claims["size"]) == ("restaurant_1", upload, SIZE), claims
    assert claims["sha256"] == hashlib.sha256(data).hexdigest()
