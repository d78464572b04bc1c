"""docs/monitoring: what is in there works with a real Prometheus, and knows the figures that there are."""

import json
import re
import shutil
import urllib.request

import pytest

from harness.figures import promtool, read
from harness.pki import ROOT
from harness.ports import free_port
from harness.process import Daemon
from harness.tokens import operator_token
from harness.waiting import wait_until

FOLDER = ROOT / "docs" / "monitoring"
NAME = re.compile(r"\bbeckon_[a-z_]+\b")
DASHBOARD = json.loads((FOLDER / "beckon-dashboard.json").read_text())
FAMILY = re.compile("^# TYPE ([a-z_]+) ", re.MULTILINE)
SERIES_OF_HISTOGRAM = re.compile("_(bucket|sum|count)$")


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start(receiver={"receiver": {"people_ca": shared_house.pki.ca}})


@pytest.fixture(scope="module")
def daemons(house):
    return house.api(), house.https(house.pki.service("operator"))


@pytest.fixture(scope="module")
def names(daemons):
    """Every family that the two daemons have; those without a sample yet, too."""
    return {name for https in daemons for name in FAMILY.findall(https.request("GET", "/metrics").body.decode())}


def dashboard_queries():
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def names_in(text):
    return {SERIES_OF_HISTOGRAM.sub("", name) for name in NAME.findall(text)}


def test_alerts_and_dashboard_ask_for_nothing_that_is_not_there(names):
    for text in ((FOLDER / "beckon-rules.yml").read_text(), "\n".join(dashboard_queries())):
        assert names_in(text) and names_in(text) <= names, names_in(text) - names


def test_every_figure_is_explained_and_no_other(names):
    assert names_in((FOLDER / "README.md").read_text()) == names


def test_the_values_of_labels_are_explained_and_no_others(daemons):
    """But for reasons and the version, which have lists of their own."""
    rows = re.findall(r"^\| `(beckon_[a-z_]+)\{([a-z]+)\}` \| (.*) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    explained = {(name, label): set(re.findall("`([a-z]+)`", text)) for name, label, text in rows if label not in ("reason", "version")}
    shown = {key: set() for key in explained}
    for sample in [sample for https in daemons for sample in read(https)]:
        name, label, value = re.fullmatch(r'([a-z_]+)(?:\{([a-z]+)="(.*)"\})?', sample).groups()
        if label and label not in ("reason", "version", "le"):
            shown.setdefault((name, label), set()).add(value)
    assert shown == explained


def test_the_alerts_are_valid_and_ring_when_they_should():
    promtool("check", "rules", FOLDER / "beckon-rules.yml")
    promtool("test", "rules", ROOT / "tests" / "e2e" / "monitoring" / "rules_test.yml")


def test_the_dashboard_s_queries_are_valid(folder):
    rules = [{"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "5m")} for number, expr in enumerate(dashboard_queries())]
    path = folder / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path).stdout


def test_the_dashboard_s_panels_do_not_overlap():
    cells = [(x, y) for panel in DASHBOARD["panels"] for grid in [panel["gridPos"]]
             for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


def example_config(house, folder):
    """The example, with this house's names and places."""
    certificates = folder / "beckon"
    certificates.mkdir()
    shutil.copy(house.pki.ca, certificates / "ca.crt")
    for file in house.pki.service("prometheus"):
        shutil.copy(file, certificates / file.name)
    shutil.copy(operator_token(house, "prometheus", "*", scope="read"), certificates / "token")
    shutil.copy(FOLDER / "beckon-rules.yml", folder)
    text = (FOLDER / "prometheus.yml").read_text()
    for old, new in (("/etc/prometheus/beckon", str(certificates)), ("coordinator.example:8080", f"127.0.0.1:{house.coordinator_port}"),
                     ("receiver.example:8443", f"127.0.0.1:{house.receiver_port}"), ("scrape_interval: 15s", "scrape_interval: 1s")):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "prometheus.yml").write_text(text)
    return folder / "prometheus.yml"


def ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=20) as answer:
        return json.load(answer)["data"]


def test_a_real_prometheus_reads_both_daemons(house, folder):
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus here")
    config = example_config(house, folder)
    promtool("check", "config", config)
    port = free_port()
    prometheus = Daemon("prometheus", ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                                       f"--web.listen-address=127.0.0.1:{port}"], folder, "Server is ready to receive web requests")
    prometheus.start()
    try:
        def scraped():
            targets = ask(port, "targets")["activeTargets"]
            last.update({target["labels"]["job"]: target["health"] + target["lastError"] for target in targets})
            return set(last.values()) == {"up"} and len(last) == 2
        last = {}
        wait_until(scraped, lambda: f"both targets to be up: {last}", 60)
        online = ask(port, "query?query=beckon_clients%7Bstate%3D%22online%22%7D")["result"]
        assert [sample["value"][1] for sample in online] == ["1"], online
        assert len(ask(port, "rules")["groups"][0]["rules"]) == 12
    finally:
        prometheus.stop()
