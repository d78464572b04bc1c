"""docker/compose.yaml on a real engine. Needs a container engine that answers, docker-compose or `docker compose`, and
Debian's packages within reach; without an engine it says so and is skipped. It uses a project name of its own."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("compose.yaml")
PROJECT = f"beckon-test-{os.getpid()}"


def compose_command():
    """The words that run compose here, or None."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        return None
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0:
            return words
    return None


COMMAND = compose_command()
pytestmark = pytest.mark.skipif(not COMMAND, reason="no container engine and compose here")


def compose(*words, check=True, **options):
    result = subprocess.run([*COMMAND, "-p", PROJECT, "-f", FILE, *words], capture_output=True, check=False, **options)
    assert not check or result.returncode == 0, (result.stdout + result.stderr).decode()[-4000:]
    return result


def inside(service, *words, check=True):
    return compose("exec", "-T", service, *words, check=check).stdout


@pytest.fixture(scope="module", autouse=True)
def running():
    try:
        compose("up", "-d", "--build")
        yield
    finally:
        compose("down", "--volumes", "--rmi", "local", check=False)


@pytest.mark.parametrize("device", ["restaurant_1", "restaurant_2"])
def test_file_of_each_device_comes_whole_right_after_up(device):
    content = inside("coordinator", "beckon", "get", device, "/data/sample.bin", "-o", "-")
    assert hashlib.sha256(content).hexdigest() == inside(device, "sha256sum", "/data/sample.bin").decode().split()[0]


def test_operator_triggers_an_upload_with_mosquitto_pub():
    tls = "/etc/beckon/tls"
    inside("operator", "mosquitto_pub", "-h", "mosquitto", "-p", "8884", "--cafile", f"{tls}/ca.crt", "--cert", f"{tls}/client.crt",
           "--key", f"{tls}/client.key", "-q", "1", "-t", "beckon/v1/restaurant_1/cmd/upload/by-hand", "-m", '{"path":"sample.bin"}')
    deadline = time.monotonic() + 30
    while b"completed" not in inside("operator", "beckon", "status", "by-hand", check=False):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("service", ["mosquitto", "receiver", "coordinator", "gateway", "operator", "restaurant_1"])
def test_service_runs_as_an_ordinary_user_without_capabilities(service):
    status = dict(line.split(":\t", 1) for line in inside(service, "cat", "/proc/self/status").decode().splitlines() if ":\t" in line)
    assert status["Uid"].split()[0] == "10001"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0


def test_nothing_reaches_a_device_and_a_device_reaches_nothing_but_broker_and_receiver():
    address = inside("restaurant_1", "hostname", "-i").decode().split()[0]
    for service in ("coordinator", "receiver", "mosquitto", "operator"):
        for target in ("restaurant_1", address):
            answer = connect(service, target, 22)  # a refusal would be a way there
            assert answer != "connected" and "refused" not in answer, f"{service} has a way to {target}: {answer}"
    for target, port in (("coordinator", 8080), ("mosquitto", 8884), ("192.0.2.1", 443)):
        assert connect("restaurant_1", target, port) != "connected"
    assert connect("restaurant_1", "mosquitto", 8883) == "connected"
    assert connect("restaurant_1", "receiver", 8443) == "connected"


def connect(service, target, port):
    script = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{target}/{port} && echo connected' 2>&1 || echo failed"
    return inside(service, "sh", "-c", script).decode().strip()


def test_each_service_sees_its_own_keys_only():
    for service in ("restaurant_1", "receiver", "coordinator", "mosquitto"):
        folder = "/etc/mosquitto/certs" if service == "mosquitto" else "/etc/beckon/tls"
        keys = {name for name in inside(service, "ls", folder).decode().split() if name.endswith((".key", ".token"))}
        assert keys == {"restaurant_1": {"client.key"}, "mosquitto": {"server.key"},
                        "receiver": {"client.key", "server.key", "receiver-token.key"},
                        "coordinator": {"client.key", "server.key", "coordinator-token.key", "operator.token"}}[service]


def test_agents_image_has_no_server_in_it():
    found = inside("restaurant_1", "sh", "-c", "ls /usr/bin /usr/sbin | grep -E 'beckon|mosquitto|haproxy'").decode().split()
    assert found == ["beckon-agent", "beckon-upload"]


def test_down_ends_all_within_15_seconds():
    begun = time.monotonic()
    compose("down")
    assert time.monotonic() - begun < 15
    compose("up", "-d")  # and the volumes bring everybody back
    assert b"by-hand" in inside("operator", "beckon", "downloads")
