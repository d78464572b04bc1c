"""Completion of `beckon` in bash and zsh: all that --help knows, and the names that the coordinator knows."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time

import pytest

from harness.house import BIN
from harness.pki import ROOT
from harness.process import environment
from harness.waiting import PATIENCE_S, SLOWNESS, wait_until

FOLDER = ROOT / "packaging" / "completion"
ZSH = shutil.which("zsh")
needs_zsh = pytest.mark.skipif(not ZSH, reason="zsh is not installed")


def help_of(*command):
    return subprocess.run([BIN / "beckon", *command, "--help"], capture_output=True, text=True, check=True, env=environment()).stdout


def commands():
    return re.findall(r"(?m)^  ([a-z]+) ", help_of())


def options(command):
    """All of a command's options, as --help has them."""
    lines = re.findall(r"(?m)^  ((?:-[a-zA-Z], )?--[a-z-]+)", help_of(*([command] if command else [])))
    return {option for line in lines for option in line.split(", ")}


def takes_something(command):
    """{option: whether a value follows}, as --help has it."""
    lines = re.findall(r"(?m)^  ((?:-[a-zA-Z], )?--[a-z-]+)( [A-Z])?", help_of(*([command] if command else [])))
    return {option: bool(value) for names, value in lines for option in names.split(", ")}


def bash(*words, env=None):
    """What bash offers for the last of the words."""
    script = (f'source {shlex.quote(str(FOLDER / "beckon.bash"))}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _beckon\n'
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-uc", script, "bash", "beckon", *words], capture_output=True, text=True,
                          check=True, timeout=30 * SLOWNESS, env=env or with_path(environment()))
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def with_path(env):
    return env | {"PATH": f"{BIN}:{os.environ['PATH']}"}


def patient(house):
    """With a coordinator, and time for it on a busy machine."""
    return with_path(house.cli_environment()) | {"BECKON_COMPLETION_TIMEOUT": "30"}


def test_help_is_read_as_these_tests_think():
    assert {"clients", "get", "doctor", "token"} <= set(commands())
    assert {"--output", "-o", "--no-wait", "--json"} <= options("get")


def test_bash_offers_every_command():
    assert set(bash("")) == set(commands())
    assert bash("doc") == ["doctor"]


@pytest.mark.parametrize("command", [None, *commands()])
def test_bash_offers_every_option(command):
    assert set(bash(*([command] if command else []), "-")) == options(command)


@pytest.mark.parametrize("command", commands())
def test_bash_offers_no_option_in_place_of_a_value(command):
    for option, takes in takes_something(command).items():
        assert ("--json" in bash(command, option, "--j")) == (not takes), option


def test_bash_knows_what_an_option_takes(tmp_path):
    assert "completed" in bash("downloads", "--status", "c")
    assert set(bash("token", "")) == {"create", "verify"}
    assert bash("token", "create", "--scope", "read,") == ["read,pull"]
    (tmp_path / "a file").touch()
    assert bash("get", "-o", str(tmp_path / "a")) == [str(tmp_path / "a file")]
    assert bash("--ca", str(tmp_path), "--json", "stat") == ["status"]
    assert bash("get", "--", "-") == []


def test_bash_asks_nobody_without_a_coordinator():
    assert bash("get", "") == []


def test_names_come_from_the_coordinator(house):
    house.start()
    request = house.ask("restaurant_1", house.agents["restaurant_1"].file("x", b"x"))
    env = patient(house)
    assert bash("get", "rest", env=env) == ["restaurant_1"]
    assert bash("status", "", env=env) == [request]
    assert bash("downloads", "--client", "", env=env) == ["restaurant_1"]
    assert bash("get", "restaurant_1", "", env=env) == []  # a path on the device


def one_of_each(house):
    """A request that is no batch's, a batch, and its one request."""
    house.start()
    path = house.agents["restaurant_1"].file("x", b"x")
    request = house.ask("restaurant_1", path)
    batch = house.api().request("POST", "/download", {"all": True, "fileName": str(path)}).json()["batchId"]
    return request, batch, wait_until(lambda: of_batch(house, batch), "the batch's request")[0]


def of_batch(house, batch):
    return [row["requestId"] for row in house.downloads() if row["batchId"] == batch]


def test_ids_are_offered_where_they_are_taken(house):
    request, batch, part = one_of_each(house)
    env = patient(house)
    assert bash("downloads", "--batch", "", env=env) == [batch]
    for command in ("status", "cancel", "watch"):
        assert set(bash(command, "", env=env)) == {request, batch, part}, command
    assert set(bash("rm", "", env=env)) == {request, part}
    assert bash("ticket", "--id", "", env=env) == []  # a new one


def test_no_client_is_offered_where_an_option_says_which(house):
    house.start()
    env = patient(house)
    assert bash("get", "--ramp", "5", "rest", env=env) == ["restaurant_1"]
    for words in (["--all"], ["--clients", "rest*"], ["--label", "site=7"], ["--ramp", "5", "--all"]):
        assert bash("get", *words, "rest", env=env) == [], words


def test_coordinator_that_hangs_does_not_hang_the_shell(house):
    env = with_path(environment(BECKON_COORDINATOR_URL="https://198.51.100.1:1", BECKON_TOKEN_FILE=str(house.token_file)))
    begun = time.monotonic()
    assert bash("get", "", env=env) == []
    assert time.monotonic() - begun < 12 * SLOWNESS  # beckon itself would wait for 15


# zsh


def zsh_functions(script):
    """With the functions of _beckon, which is not run: that takes a line that is being edited."""
    text = (FOLDER / "_beckon").read_text()
    assert text.endswith('\n_beckon "$@"\n')
    done = subprocess.run([ZSH, "-fs"], input=text.removesuffix('_beckon "$@"\n') + script, capture_output=True, text=True,
                          timeout=30 * SLOWNESS, env=with_path(environment()), check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.splitlines()


@needs_zsh
def test_zsh_takes_the_file():
    subprocess.run([ZSH, "-n", FOLDER / "_beckon"], check=True)


@needs_zsh
@pytest.mark.parametrize("command", [None, *commands()])
def test_zsh_offers_every_option(command):
    specs = zsh_functions(f"_beckon_specs {command or ''}")
    assert {re.match(r"(?:\([^)]*\))?\*?(-[-a-zA-Z]+)\[", spec).group(1): ":_beckon_fill " in spec for spec in specs} == takes_something(command)


class Zsh:
    """One that thinks a person sits before it."""

    def __init__(self, folder, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(ZSH, [ZSH, "-f", "-i"], env | {"TERM": "dumb", "HOME": str(folder), "PS1": "> "})
        self.seen = ""
        self.type("unsetopt zle_bracketed_paste 2>/dev/null; fpath=(%s $fpath); autoload -U compinit; compinit -u -D; echo is-$((6 * 7))\n"
                  % shlex.quote(str(FOLDER)))
        self.wait("is-42")

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, wanted):
        end = time.monotonic() + PATIENCE_S
        while wanted not in self.seen:
            assert time.monotonic() < end, f"no '{wanted}' in {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
        self.seen = ""

    def close(self):
        os.close(self.fd)  # a hangup ends it
        os.waitpid(self.pid, 0)


@needs_zsh
def test_zsh_completes_a_line(house):
    house.start()
    shell = house.closing(Zsh(house.folder, patient(house)))
    for typed, completed in (("beckon doct", "beckon doctor "), ("beckon get --no-w", "beckon get --no-wait "),
                             ("beckon get rest", "beckon get restaurant_1 "), ("beckon token cre", "beckon token create "),
                             ("beckon downloads --status comp", "beckon downloads --status completed ")):
        shell.type(typed + "\t")
        shell.wait(completed[len(typed):].rstrip())
        shell.type("\x15echo next-$((6 * 7))\n")
        shell.wait("next-42")


@needs_zsh
def test_zsh_knows_a_batch_from_a_request_and_a_path_from_a_client(house):
    request, batch, part = one_of_each(house)
    shell = house.closing(Zsh(house.folder, patient(house)))
    for typed, completed in (("downloads --batch ", batch), (f"cancel {batch[:-2]}", batch), (f"watch {part[:-2]}", part),
                             (f"rm {request[:-2]}", request), (f"rm {batch[:-2]}", batch[:-2]),
                             ("get rest", "restaurant_1"), ("get --all rest", "rest"), ("get --clients 'rest*' rest", "rest")):
        shell.type(f"beckon {typed}\t\x01printf '<%s>' \n")  # the line, once completed, is printed word by word
        shell.wait(f"<{completed}>")
