"""The manual pages, the example configurations and the programs say the same: what one has, the others have too."""

import json
import re
import shutil
import subprocess

import pytest

from harness.house import BIN
from harness.pki import ROOT, SCRIPT
from harness.process import environment

DAEMONS = ["agent", "receiver", "coordinator"]
PROGRAMS = ["beckon", "beckon-agent", "beckon-upload", "beckon-receiver", "beckon-coordinator", "beckon-pki"]


def page(name):
    found = list((ROOT / "docs" / "man").glob(f"{name}.[0-9].scd"))
    assert len(found) == 1, f"{name} has no manual page"
    return found[0].read_text().replace("\\", "")


def part(text, heading):
    """From a heading to the next one."""
    return re.search(rf"(?ms)^# {heading}\n(.*?)(?=^# |\Z)", text).group(1)


def help_of(*words):
    return subprocess.run([BIN / words[0], *words[1:], "--help"], capture_output=True, text=True, check=True,
                          env=environment()).stdout


def options_in(text):
    return set(re.findall(r"(?m)^  +(?:-[a-zA-Z], )?(--[a-z-]+)", text))


def bold_options(text):
    return set(re.findall(r"\*(--[a-z-]+)\*", text))


def keys_of(daemon):
    """{(section, key)} as the program itself has them; a section with free names has the key None."""
    done = subprocess.run([BIN / f"beckon-{daemon}", "--config", "/dev/null", "--show-config"], capture_output=True, text=True,
                          env=environment(), check=False)
    config = json.loads(done.stdout)
    return {(section, key) for section, keys in config.items() for key in keys or [None]}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_a_page_that_is_built(program):
    text = page(program)
    assert text.startswith(f"{program}(") and f"\n{program} - " in text
    assert re.search(rf"\b{program}\.[18]\b", (ROOT / "docs" / "CMakeLists.txt").read_text())


@pytest.mark.skipif(not shutil.which("scdoc"), reason="scdoc is not installed")
def test_pages_are_well_formed():
    for source in (ROOT / "docs" / "man").glob("*.scd"):
        with source.open("rb") as text:
            done = subprocess.run(["scdoc"], stdin=text, capture_output=True, check=False)
        assert done.returncode == 0, (source, done.stderr)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_daemons_options_are_those_of_its_page(daemon):
    options = options_in(help_of(f"beckon-{daemon}"))
    text = page(f"beckon-{daemon}")
    assert bold_options(part(text, "OPTIONS")) == options
    assert bold_options(part(text, "SYNOPSIS")) == options - {"--help", "--version"}


def test_commands_of_beckon_are_those_of_its_page():
    commands = re.findall(r"(?m)^  ([a-z]+) ", help_of("beckon"))
    text = page("beckon")
    assert set(re.findall(r"(?m)^\*beckon\*(?: \[_options_\])? \*([a-z]+)\*", part(text, "SYNOPSIS"))) == set(commands)
    assert set(re.findall(r"(?m)^\*([a-z]+)\*", part(text, "COMMANDS"))) == set(commands)


def test_options_of_beckon_are_those_of_its_page():
    common = options_in(help_of("beckon"))
    text = page("beckon")
    assert bold_options(part(text, "OPTIONS")) == common
    for command in re.findall(r"(?m)^  ([a-z]+) ", help_of("beckon")):
        own = options_in(help_of("beckon", command)) - common
        synopsis = "".join(re.findall(rf"(?m)^\*beckon\*(?: \[_options_\])? \*{command}\*.*$", part(text, "SYNOPSIS")))
        short = {"--output": "-o"}  # as the synopsis has it
        missing = {option for option in own if option not in bold_options(synopsis) and f"*{short.get(option)}*" not in synopsis}
        assert not missing, f"SYNOPSIS of {command}"
        assert bold_options(synopsis) <= own, f"SYNOPSIS of {command}"
        section = re.search(rf"(?ms)^(\*{command}\*.*?)(?=^\*(?!{command}\*)[a-z]+\*|^[A-Z]|\Z)", part(text, "COMMANDS")).group(1)
        assert own <= bold_options(section) | bold_options(synopsis), f"COMMANDS, {command}"


def test_commands_of_pki_are_those_of_its_page():
    help_text = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"(?m)^  pki ([a-z-]+)", help_text))
    text = page("beckon-pki")
    assert set(re.findall(r"(?m)^\*([a-z-]+)\*", part(text, "COMMANDS"))) == commands
    assert bold_options(part(text, "OPTIONS")) == set(re.findall(r"--[a-z]+", help_text.split("Options:")[1])) | {"--help"}


@pytest.mark.parametrize("daemon", DAEMONS)
def test_configuration_keys_are_those_of_the_page(daemon):
    listed, section = set(), None
    for line in part(page(f"{daemon}.conf"), "KEYS").splitlines():
        if line.startswith("## ["):
            section = line[4:-1]
            listed.add((section, None))
        elif line.startswith("*"):
            listed |= {(section, key) for key in re.findall(r"\*([a-z_]+)\*", line)}
            listed.discard((section, None))
    assert listed == keys_of(daemon)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_configuration_keys_are_those_of_the_example(daemon):
    keys = keys_of(daemon)
    free = {section for section, key in keys if key is None}
    listed, section = {(section, None) for section in free}, None
    for line in (ROOT / "packaging" / f"{daemon}.conf").read_text().splitlines():
        heading = re.match(r"\[([a-z_]+)\]$", line)
        assignment = re.match(r"[;#]? ?((?:[a-z_]+, )*[a-z_]+) = ", line)
        if heading:
            section = heading.group(1)
        elif assignment and section not in free:
            listed |= {(section, key) for key in assignment.group(1).split(", ")}
    assert listed == keys


@pytest.mark.parametrize("daemon", DAEMONS)
def test_example_is_taken_but_for_its_certificates(daemon):
    done = subprocess.run([BIN / f"beckon-{daemon}", "--config", ROOT / "packaging" / f"{daemon}.conf", "--check-config"],
                          capture_output=True, text=True, env=environment(), check=False)
    mistakes = [line for line in done.stderr.splitlines() if ".conf:" in line and "can't read /etc/beckon/" not in line]
    assert not mistakes
