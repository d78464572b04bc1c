"""A whole Beckon in one folder: broker, receiver, coordinator and agents, as real processes on free loopback ports."""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from .https import HttpsClient
from .observer import Observer
from .pki import ROOT
from .ports import free_port
from .process import Daemon, environment, is_running, program_of
from .waiting import PATIENCE_S, SLOWNESS, wait_until

BIN = Path(os.environ.get("BECKON_BIN_DIR", ROOT / "build" / "dev" / "bin"))
PORT_TAKEN = re.compile(r"address (already )?in use", re.IGNORECASE)
FLEET_STEP = 25
KEEPALIVE = "5s"  # the least that libmosquitto takes


def write_config(path, sections):
    """sections: {"agent": {"key": value, "many": [value, ...]}}. A value of None leaves the key out."""
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    lines.append(f"{key}={one}")
    path.write_text("\n".join(lines) + "\n")
    return path


def merge(defaults, changes):
    merged = {section: dict(keys) for section, keys in defaults.items()}
    for section, keys in (changes or {}).items():
        merged.setdefault(section, {}).update(keys)
    return merged


class House:
    def __init__(self, folder, pki):
        self.folder = Path(folder)
        self.pki = pki
        self.store = self.folder / "store"
        self.token_file = self.folder / "token"
        self.token = "e2e-" + os.urandom(16).hex()
        self.token_file.write_text(self.token + "\n")
        self.token_file.chmod(0o600)
        self.broker = self.receiver = self.coordinator = None
        self.agents = {}
        self.devices_port = self.people_port = self.receiver_port = self.coordinator_port = 0
        self.daemons = []
        self.launch = {}  # role: (words before its program, additions to its environment)
        self._closers = []

    # starting

    def start(self, agents=("restaurant_1",), receiver=None, coordinator=None, agent=None):
        """Everything, each with changes to its configuration, and somebody who holds to the contract what is said. Returns
        when every agent is seen online."""
        self.start_broker()
        self.observer(subscribe=("beckon/v1/+/status/+", "beckon/v1/+/presence", "beckon/v1/+/receipt/+"))
        self.start_receiver(receiver)
        self.start_coordinator(coordinator)
        for name in agents:
            self.start_agent(name, agent, wait=False)
        for name in agents:
            self.wait_online(name)
        return self

    def start_broker(self, extra=""):
        def make():
            self.devices_port, self.people_port = free_port(), free_port()
            return self._daemon("broker", ["/usr/sbin/mosquitto", "-c", self._broker_config(extra)],
                                "mosquitto version .* running")
        self.broker = self._start(make)
        return self.broker

    def start_receiver(self, config=None):
        def make():
            self.receiver_port = free_port()
            path = write_config(self.folder / "receiver.conf", merge(self.receiver_config(), config))
            return self._daemon("receiver", [BIN / "beckon-receiver", "--config", path], r"\bready\b")
        self.receiver = self._start(make)
        return self.receiver

    def start_coordinator(self, config=None):
        def make():
            self.coordinator_port = free_port()
            path = write_config(self.folder / "coordinator.conf", merge(self.coordinator_config(), config))
            return self._daemon("coordinator", [BIN / "beckon-coordinator", "--config", path], r"\bready\b")
        self.coordinator = self._start(make)
        return self.coordinator

    def start_agent(self, name="restaurant_1", config=None, wait=True):
        agent = Agent(self, name, config)
        self.daemons.append(agent)
        self.agents[name] = agent
        agent.start(wait)
        if wait and self.coordinator:
            self.wait_online(name)
        return agent

    def start_fleet(self, names, config=None):
        """Many agents, a few dozen at a time. Returns when all are seen online."""
        self.pki.make_fleet(names)
        for first in range(0, len(names), FLEET_STEP):
            batch = names[first:first + FLEET_STEP]
            for name in batch:
                self.start_agent(name, config, wait=False)
            wait_until(lambda some=set(batch): some <= self.online(), "the fleet to come online", 60)

    def stop_fleet(self):
        """Side by side: each waits for the broker for a moment."""
        with ThreadPoolExecutor(FLEET_STEP) as pool:
            list(pool.map(Daemon.stop, self.agents.values()))

    def online(self):
        clients = self.api().request("GET", "/clients").json()["clients"]
        return {client["id"] for client in clients if client["online"]}

    def _daemon(self, role, argv, ready):
        prefix, env = self.launch.get(role, ([], {}))
        return Daemon(role, [*prefix, *argv], self.folder, ready, env)

    def _start(self, make):
        """Another process may have taken a port between choosing and binding: choose again."""
        for _ in range(5):
            daemon = make()
            try:
                daemon.start()
            except AssertionError:
                if PORT_TAKEN.search(daemon.log()) and not daemon.alive():
                    continue
                self.daemons.append(daemon)
                raise
            self.daemons.append(daemon)
            return daemon
        raise AssertionError("no free port in five tries")

    def wait_online(self, name, online=True):
        def seen():
            answer = self.api().request("GET", f"/clients/{name}")
            return answer.status == 200 and answer.json().get("online") is online
        wait_until(seen, f"the coordinator to see {name} {'online' if online else 'offline'}")

    # configuration

    def _broker_config(self, extra):
        """The project's own mosquitto.conf, moved into this folder."""
        text = (ROOT / "broker-config" / "mosquitto.conf").read_text()
        server = self.pki.server("localhost")
        text = text.replace("/etc/mosquitto/certs/server.crt", str(server[0]))
        text = text.replace("/etc/mosquitto/certs/server.key", str(server[1]))
        text = text.replace("/etc/mosquitto/certs", str(self.pki.folder))
        text = text.replace("/etc/mosquitto/beckon", str(ROOT / "broker-config"))
        text = re.sub(r"(?m)^listener 8883\b.*$", f"listener {self.devices_port} 127.0.0.1", text)
        text = re.sub(r"(?m)^listener 8884\b.*$", f"listener {self.people_port} 127.0.0.1", text)
        text = re.sub(r"(?m)^(user|log_dest|pid_file)\b.*$", "", text)
        (self.folder / "broker").mkdir(exist_ok=True)
        text = re.sub(r"(?m)^persistence_location\b.*$", f"persistence_location {self.folder}/broker/", text)
        assert "/etc/mosquitto" not in re.sub(r"(?m)^#.*$", "", text), "mosquitto.conf names a file the harness does not know"
        path = self.folder / "mosquitto.conf"
        # as the user of the test; "running" is of log type information
        path.write_text(f"{text}\nuser root\nlog_dest stderr\nlog_type information\n{extra}\n")
        return path

    def _broker_section(self, identity, port):
        return {"host": "127.0.0.1", "port": port, "ca": self.pki.ca, "cert": identity[0], "key": identity[1],
                "keepalive": KEEPALIVE, "backoff_min": "100ms", "backoff_max": "1s"}

    def receiver_config(self):
        cert, key = self.pki.server("receiver.test")
        return {
            "receiver": {"name": "receiver", "store": self.store, "address": "127.0.0.1", "port": self.receiver_port,
                         "cert": cert, "key": key, "client_ca": self.pki.folder / "clients.crt",
                         "crl": self.pki.folder / "clients.crl", "signing_key": self.pki.token_key("receiver"),
                         "coordinator_key": self.pki.token_public("coordinator")},
            "mqtt": self._broker_section(self.pki.service("receiver"), self.people_port),
            "log": {"level": "debug"},
        }

    def coordinator_config(self):
        cert, key = self.pki.server("coordinator.test")
        return {
            "coordinator": {"database": self.folder / "coordinator.db", "address": "127.0.0.1",
                            "port": self.coordinator_port, "cert": cert, "key": key, "token_file": self.token_file,
                            "signing_key": self.pki.token_key("coordinator"),
                            "receiver_key": self.pki.token_public("receiver"), "receiver_url": self.receiver_url},
            "mqtt": self._broker_section(self.pki.service("coordinator"), self.people_port),
            "log": {"level": "debug"},
        }

    def agent_config(self, name, files, state):
        return {
            "agent": {"client_id": name, "state_dir": state},
            "mqtt": self._broker_section(self.pki.client(name), self.devices_port),
            "files": {"allow": files},
            "receiver": {"url": self.receiver_url, "backoff_min": "200ms", "backoff_max": "1s"},
            "log": {"level": "debug"},
        }

    @property
    def receiver_url(self):
        return f"https://127.0.0.1:{self.receiver_port}"

    @property
    def coordinator_url(self):
        return f"https://127.0.0.1:{self.coordinator_port}"

    # the ways in

    def api(self, token_file=None):
        """The coordinator's REST API with the shared secret, or a user's token."""
        return HttpsClient(self.coordinator_port, self.pki.ca, document="openapi",
                           bearer=token_file.read_text().strip() if token_file else self.token)

    def https(self, identity=None):
        """The receiver, with a certificate or without."""
        return HttpsClient(self.receiver_port, self.pki.ca, identity, document="openapi-receiver")

    def observer(self, name="operator", subscribe=("beckon/v1/+/status/+", "beckon/v1/+/receipt/+"), **options):
        """A person on the people's listener. Closed with the house."""
        observer = Observer(self.people_port, self.pki.ca, self.pki.service(name), subscribe=subscribe, **options)
        self._closers.append(observer.close)
        return observer

    def closing(self, thing):
        """thing.close() is called with the house."""
        self._closers.append(thing.close)
        return thing

    def mosquitto_options(self, name="operator"):
        cert, key = self.pki.service(name)
        return ["-h", "127.0.0.1", "-p", str(self.people_port), "--cafile", str(self.pki.ca), "--cert", str(cert),
                "--key", str(key), "-q", "1"]

    def cli_environment(self):
        return environment(BECKON_COORDINATOR_URL=self.coordinator_url, BECKON_TOKEN_FILE=str(self.token_file),
                           BECKON_CA=str(self.pki.ca), LC_ALL="C.UTF-8")

    def cli(self, *words, timeout_s=60, binary=False):
        """Runs `beckon`; returns the finished process with its output."""
        return subprocess.run([BIN / "beckon", *map(str, words)], cwd=self.folder, env=self.cli_environment(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=not binary,
                              errors=None if binary else "replace", timeout=timeout_s * SLOWNESS, check=False)

    def cli_start(self, *words):
        process = subprocess.Popen([BIN / "beckon", *map(str, words)], cwd=self.folder, env=self.cli_environment(),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   errors="replace")
        self._closers.append(lambda: (process.kill(), process.communicate()))
        return process

    # requests

    def ask(self, client, path, **headers):
        """POST /download; returns the request's id."""
        answer = self.api().request("POST", "/download", {"clientId": client, "fileName": str(path)}, headers)
        assert answer.status == 202, answer
        return answer.json()["requestId"]

    def request_row(self, request_id):
        answer = self.api().request("GET", f"/download/{quote(request_id)}")
        return answer.json() if answer.status == 200 else None

    def wait_status(self, request_id, *wanted, timeout_s=PATIENCE_S):
        """The row of a request once its status is one of wanted."""
        last = {}

        def reached():
            last["row"] = self.request_row(request_id)
            return last["row"] if last["row"] and last["row"]["status"] in wanted else None
        return wait_until(reached, lambda: f"{request_id} to be {'/'.join(wanted)}; it is {last.get('row')}", timeout_s)

    def downloads(self):
        return self.api().request("GET", "/downloads").json()["downloads"]

    # the store

    def stored_files(self):
        """Finished files below the store, without the records beside them and without parts."""
        if not self.store.exists():
            return []
        return sorted(path for path in self.store.glob("*/*/*") if path.is_file() and not is_hidden(path, self.store))

    def stored(self, client, upload):
        """The one stored file of an upload, or None."""
        folder = self.store / client / upload
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        assert len(files) <= 1, f"more than one file in {folder}: {files}"
        return files[0] if files else None

    def parts(self, upload):
        """The files of an upload that has begun and is not complete; not what is remembered of a deleted one."""
        return [path for path in (self.store / ".incoming").glob("*.part") if upload in path.name]

    def wait_bytes(self, upload):
        """Until the receiver has written some of it."""
        wait_until(lambda: any(path.stat().st_size > 0 for path in self.parts(upload)), f"bytes of {upload} to arrive")

    # ending

    def check(self):
        """Takes the faults that the daemons have noted so far."""
        for daemon in self.daemons:
            daemon.check()
        return self._take_faults()

    def close(self):
        """Stops everything, the last started first; fails if anything did not end well."""
        for closer in reversed(self._closers):
            closer()
        for daemon in reversed(self.daemons):
            daemon.stop()
        faults = self._take_faults()
        tails = "\n".join(f"--- {daemon.name}, run {daemon.runs}:\n{daemon.tail(20)}" for daemon in self.daemons)
        assert not faults, "\n".join(faults) + "\n" + tails

    def _take_faults(self):
        faults = [fault for daemon in self.daemons for fault in daemon.faults]
        for daemon in self.daemons:
            daemon.faults.clear()
        return faults


def is_hidden(path, below):
    return any(part.startswith(".") for part in path.relative_to(below).parts)


class Agent(Daemon):
    """A device: its allowed folder is .files."""

    def __init__(self, house, name, config=None):
        self.client = name
        self.home = house.folder / name
        self.files = self.home / "files"
        self.state = self.home / "state"
        self.files.mkdir(parents=True, exist_ok=True)
        sections = merge(house.agent_config(name, self.files, self.state), config)
        self.config_path = write_config(self.home / "agent.conf", sections)
        prefix, env = house.launch.get("agent", ([], {}))
        super().__init__(f"agent-{name}", [*prefix, BIN / "beckon-agent", "--config", self.config_path], house.folder,
                         ready="connected to the broker", env=env)

    def file(self, name, data):
        """Puts a file into the allowed folder; returns its path."""
        path = self.files / name
        path.write_bytes(data)
        return path

    def workers(self):
        """The pids of the uploads that run now."""
        return [pid for pid in self.children() if is_running(pid) and program_of(pid) == "beckon-upload"]


def command_payload(path, **more):
    return json.dumps({"path": str(path), **more})
