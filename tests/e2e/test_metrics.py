"""GET /metrics, /livez and /readyz of coordinator and receiver: who may read them, and that they tell the truth."""

import os
import re
import shutil
import subprocess

import pytest

from conftest import opened
from harness import contract
from harness.figures import promtool, read, wait_figure
from harness.house import House
from harness.https import HttpsClient, send_chunk
from harness.observer import Observer
from harness.pki import ROOT
from harness.tokens import operator_token
from harness.waiting import wait_until


def people(house):
    """A configuration of the receiver that knows who signs for people."""
    return {"receiver": {"people_ca": house.pki.ca}}


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start(agents=("restaurant_1", "restaurant_2"), receiver=people(shared_house))


def scraper(house):
    """The receiver with a certificate of its own for Prometheus."""
    return house.https(house.pki.service("prometheus"))


def growth(before, after):
    """What has grown, or fallen."""
    return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}


# who may


def test_without_a_token_the_coordinator_tells_nothing(house):
    for bearer in (None, "wrong-" + "x" * 20):
        answer = HttpsClient(house.coordinator_port, house.pki.ca, bearer=bearer).request("GET", "/metrics")
        assert answer.status == 401 and b"beckon_" not in answer.body, answer


def test_a_user_of_some_devices_may_not_count_all(house):
    assert read(house.api(operator_token(house, "prometheus", "*", scope="read")))
    answer = house.api(operator_token(house, "alice", "restaurant_1")).request("GET", "/metrics")
    assert answer.status == 403 and b"beckon_" not in answer.body, answer


def test_the_receiver_tells_people_and_no_device(house):
    for name in ("prometheus", "operator", "coordinator"):
        assert read(house.https(house.pki.service(name)))["beckon_broker_connected"] == 1
    answer = house.https(house.pki.client("restaurant_1")).request("GET", "/metrics")
    assert answer.status == 403 and b"beckon_" not in answer.body, answer
    answer = house.https().request("GET", "/metrics")
    assert answer.status == 401 and b"beckon_" not in answer.body, answer
    answer = scraper(house).request("POST", "/metrics", b"x")
    assert answer.status == 405 and answer["Allow"] == "GET", answer


def test_a_device_s_authority_makes_no_coordinator(house, folder):
    """The devices' authority signs the name of a service: worth nothing, not even as a device."""
    pki = house.pki.copy(folder / "pki")
    request, extensions = folder / "request", folder / "extensions"
    key, cert = folder / "forged.key", folder / "forged.crt"
    extensions.write_text("extendedKeyUsage=clientAuth\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
            "-subj", "/CN=coordinator")
    openssl("x509", "-req", "-in", request, "-CA", pki.folder / "devices-ca.crt", "-CAkey", pki.folder / "private" / "devices-ca.key",
            "-set_serial", "4711", "-days", "1", "-extfile", extensions, "-out", cert)
    for method, path in (("GET", "/metrics"), ("GET", "/v1/uploads/x?client=restaurant_1"), ("PUT", "/v1/uploads/x")):
        answer = house.https((cert, key)).request(method, path, b"x" if method == "PUT" else None)
        assert answer.status == 403 and answer.json()["reason"] == "CERTIFICATE_REFUSED", (path, answer)


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def test_a_person_s_certificate_uploads_nothing_where_people_are_known(house, upload):
    answer = scraper(house).request("PUT", f"/v1/uploads/{upload}", b"data")
    assert answer.status == 403 and answer.json()["reason"] == "NOT_A_DEVICE", answer
    assert not (house.store / "prometheus").exists()


def test_open_metrics_need_no_token_and_open_nothing_else(folder, pki):
    with opened(House(folder, pki)) as own:
        own.start_broker()
        own.start_coordinator({"coordinator": {"metrics": "open"}})
        anybody = HttpsClient(own.coordinator_port, own.pki.ca)
        assert read(anybody)["beckon_clients{state=\"online\"}"] == 0
        assert anybody.request("GET", "/clients").status == 401


# the text


def test_promtool_finds_nothing_to_say(house):
    house.wait_status(house.ask("restaurant_1", house.agents["restaurant_1"].file("lint", b"lint")), "completed")
    house.https(house.pki.client("restaurant_1")).request("PATCH", "/v1/uploads/none")  # so that there is a refusal
    for https in (house.api(), scraper(house)):
        promtool("check", "metrics", stdin=https.request("GET", "/metrics").body.decode())


def test_figures_say_which_version_and_until_when_certificates_last(house):
    version = subprocess.run([house.coordinator.argv[0], "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    for https in (house.api(), scraper(house)):
        figures = read(https)
        assert figures[f'beckon_build_info{{version="{version}"}}'] == 1
    end = subprocess.run(["openssl", "x509", "-in", house.pki.service("receiver")[0], "-noout", "-enddate"], capture_output=True,
                         text=True, check=True).stdout.strip().removeprefix("notAfter=")
    date = subprocess.run(["date", "-d", end, "+%s"], capture_output=True, text=True, check=True).stdout
    assert figures['beckon_certificate_expiry_timestamp_seconds{certificate="mqtt"}'] == float(date)
    assert figures['beckon_certificate_expiry_timestamp_seconds{certificate="server"}'] > float(date) - 86400


# what is counted


def test_a_completed_upload_is_counted_once_on_both_sides(house):
    api, receiver = house.api(), scraper(house)
    before, receiver_before = read(api), read(receiver)
    house.wait_status(house.ask("restaurant_1", house.agents["restaurant_1"].file("counted", b"x" * 100000)), "completed")
    wait_figure(receiver, "beckon_uploads_total{result=\"completed\"}", receiver_before["beckon_uploads_total{result=\"completed\"}"] + 1)
    wait_figure(receiver, "beckon_receipts_waiting", 0)
    assert read(receiver)["beckon_removals_waiting"] == 0
    grown, receiver_grown = growth(before, read(api)), growth(receiver_before, read(receiver))
    assert grown["beckon_requests_total{status=\"completed\"}"] == 1
    assert grown["beckon_request_duration_seconds_count"] == grown["beckon_request_duration_seconds_bucket{le=\"+Inf\"}"] == 1
    assert grown["beckon_commands_published_total{command=\"upload\"}"] == 1
    assert not [name for name in grown if name.startswith("beckon_requests{")], grown
    assert receiver_grown["beckon_upload_bytes_total"] == 100000
    assert receiver_grown["beckon_upload_duration_seconds_count"] == 1
    assert 0 < receiver_grown["beckon_upload_duration_seconds_sum"] < 60
    assert not [name for name in receiver_grown if "refus" in name or "broken" in name], receiver_grown


def by_reason(figures, family):
    return {name.split('"')[1]: count for name, count in figures.items() if name.startswith(family + "{")}


def test_a_refusal_is_counted_by_its_reason(house):
    api, receiver = house.api(), scraper(house)
    before, receiver_before = read(api), read(receiver)
    house.wait_status(house.ask("restaurant_1", "/etc/shadow"), "rejected")
    for path, status in (("/download/none", 404), ("/nothing", 404), ("/downloads?limit=none", 400)):
        assert api.request("GET", path).status == status
    assert api.request("POST", "/download", {"clientId": "restaurant_9", "fileName": "/x"}).status == 404
    assert HttpsClient(house.coordinator_port, house.pki.ca, bearer="wrong-" + "x" * 20).request("GET", "/clients").status == 401
    assert house.api(operator_token(house, "reader", "*", scope="read")).request("DELETE", "/download/none").status == 403
    grown = growth(before, read(api))
    assert grown["beckon_requests_total{status=\"rejected\"}"] == 1
    assert by_reason(grown, "beckon_request_failures_total") == {"PATH_NOT_ALLOWED": 1}
    assert by_reason(grown, "beckon_refusals_total") == {"UNKNOWN_REQUEST": 1, "NO_SUCH_PATH": 1, "INVALID_QUERY": 1, "UNKNOWN_CLIENT": 1,
                                                         "INVALID_TOKEN": 1, "INSUFFICIENT_SCOPE": 1}
    device = house.https(house.pki.client("restaurant_1"))
    assert device.request("PUT", "/v1/uploads/refused", b"x", {"Beckon-Path": "%"}).status == 400
    assert device.request("HEAD", "/v1/uploads/none").status == 404
    grown = growth(receiver_before, read(receiver))
    assert grown.pop("beckon_refusals_total{reason=\"PATH_INVALID\"}") == 1
    assert grown.pop("beckon_refusals_total{reason=\"UPLOAD_NOT_FOUND\"}") == 1
    assert grown.pop("beckon_uploads_total{result=\"refused\"}") == 1
    assert not [name for name in grown if name.startswith("beckon_refusals") or name.startswith("beckon_uploads")], grown


def reasons_of_failures():
    """All that agent and receiver have, by their documents."""
    agent = re.findall(r"^\| (`[A-Z_`, ]+) \| [a-z, ]*\b(?:agent|worker)\b[a-z, ]* \|", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE)
    receiver = contract.document("openapi-receiver")["components"]["schemas"]["Problem"]["properties"]["reason"]["x-extensible-enum"]
    return {*re.findall("[A-Z_]+", " ".join(agent)), *receiver}


def test_a_device_makes_up_no_labels(house, pki):
    api, device = house.api(), house.closing(Observer(house.devices_port, pki.ca, pki.client("restaurant_3")))
    before, known, made_up = read(api), reasons_of_failures(), [f"MADE_UP_{number}" for number in range(30)]
    for number, reason in enumerate([*known, *made_up]):
        error = {"code": "internal", "reason": reason, "message": "Ask again."}
        device.publish(f"beckon/v1/restaurant_3/status/label-{number}", {"state": "failed", "path": "/x", "sent": 0, "attempt": 1,
                                                                        "at": "2026-11-21T11:06:04.123Z", "error": error})
    failed = 'beckon_requests_total{status="failed"}'
    wait_figure(api, failed, before[failed] + len(known) + len(made_up))
    assert by_reason(growth(before, read(api)), "beckon_request_failures_total") == {**dict.fromkeys(known, 1), "other": len(made_up)}


def test_a_cancel_is_counted_and_an_upload_on_its_way_is_seen(house):
    api, receiver = house.api(), scraper(house)
    before, receiver_before = read(api), read(receiver)
    path = house.agents["restaurant_1"].file("slow", b"x" * 5_000_000)
    request = house.api().request("POST", "/download", {"clientId": "restaurant_1", "fileName": str(path), "rate": 100000})
    request = request.json()["requestId"]
    house.wait_status(request, "running")
    wait_figure(receiver, "beckon_uploads_active", 1)
    assert growth(before, read(api))["beckon_requests{status=\"running\"}"] == 1
    assert house.api().request("DELETE", f"/download/{request}").status == 202
    house.wait_status(request, "cancelled")
    wait_figure(receiver, "beckon_uploads_active", 0)
    grown = growth(before, read(api))
    assert grown["beckon_requests_total{status=\"cancelled\"}"] == 1
    assert grown["beckon_commands_published_total{command=\"cancel\"}"] >= 1
    assert "beckon_requests{status=\"running\"}" not in grown
    fenced = growth(receiver_before, read(receiver))
    assert fenced.get("beckon_uploads_total{result=\"completed\"}") is None
    assert sum(fenced.get(f"beckon_uploads_total{{result=\"{result}\"}}", 0) for result in ("fenced", "broken")) == 1, fenced


def test_a_repeat_a_piece_and_a_broken_connection_are_told_apart(house, upload):
    receiver, device = scraper(house), house.https(house.pki.client("restaurant_1"))
    before = read(receiver)
    url = f"/v1/uploads/{upload}"
    assert device.request("PUT", url, b"data").status == 201
    assert device.request("PUT", url, b"data").status == 201
    assert device.request("PUT", url + "-2", b"da", {"Upload-Complete": "?0", "Beckon-Attempt": "2"}).status == 201
    with device.begin_put(url + "-3") as stream:
        send_chunk(stream, b"half")
        wait_figure(receiver, "beckon_uploads_active", 1)
    wait_figure(receiver, "beckon_uploads_total{result=\"broken\"}", before["beckon_uploads_total{result=\"broken\"}"] + 1)
    grown = growth(before, read(receiver))
    for result in ("completed", "repeated", "partial", "broken"):
        assert grown[f"beckon_uploads_total{{result=\"{result}\"}}"] == 1, (result, grown)
    assert grown["beckon_upload_retries_total"] == 1
    assert grown["beckon_upload_duration_seconds_count"] == 1


def test_a_transfer_that_a_newer_one_has_replaced_is_fenced(house, upload):
    receiver, device = scraper(house), house.https(house.pki.client("restaurant_1"))
    before = read(receiver)
    with device.begin_put(f"/v1/uploads/{upload}") as old:
        send_chunk(old, b"old")
        wait_figure(receiver, "beckon_uploads_active", 1)
        assert device.request("PUT", f"/v1/uploads/{upload}", b"new").status == 201
    wait_figure(receiver, "beckon_uploads_total{result=\"fenced\"}", before["beckon_uploads_total{result=\"fenced\"}"] + 1)


def test_presence_readers_and_free_space_are_as_they_are(house):
    api = house.api()
    wait_figure(api, "beckon_clients{state=\"online\"}", 2)
    assert read(api)["beckon_clients{state=\"offline\"}"] == 0
    house.agents["restaurant_2"].stop()
    wait_figure(api, "beckon_clients{state=\"online\"}", 1)
    assert read(api)["beckon_clients{state=\"offline\"}"] == 1
    house.agents["restaurant_2"].start()
    wait_figure(api, "beckon_clients{state=\"online\"}", 2)
    free = os.statvfs(house.store)
    assert abs(read(scraper(house))["beckon_store_free_bytes"] - free.f_bavail * free.f_frsize) < 4e9
    assert read(scraper(house))["beckon_store_floor_bytes"] == 64 * 1024 * 1024


# ready and alive


def status(https, path):
    return https.request("GET", path).status


def test_without_the_broker_nobody_is_ready_and_receipts_wait(house, upload):
    api, receiver = house.api(), scraper(house)
    for https in (api, receiver):
        wait_until(lambda: status(https, "/readyz") == 200, "readiness")
    house.broker.stop()
    for https in (api, receiver):
        wait_until(lambda: status(https, "/readyz") == 503, "the end of readiness")
        assert status(https, "/livez") == status(https, "/health") == 200
        assert "broker" in https.request("GET", "/readyz").json()["status"]
        wait_figure(https, "beckon_broker_connected", 0)
    assert house.https(house.pki.client("restaurant_1")).request("PUT", f"/v1/uploads/{upload}", b"x").status == 201
    wait_figure(receiver, "beckon_receipts_waiting", 1)
    house.broker.start()
    wait_figure(receiver, "beckon_receipts_waiting", 0)
    for https in (api, receiver):
        wait_until(lambda: status(https, "/readyz") == 200, "readiness again")


def test_without_its_database_the_coordinator_is_not_ready(folder, pki):
    with opened(House(folder, pki)) as own:
        own.start_broker()
        own.start_coordinator()
        wait_until(lambda: status(own.api(), "/readyz") == 200, "readiness")
        database = own.folder / "coordinator.db"
        database.rename(own.folder / "elsewhere.db")
        answer = own.api().request("GET", "/readyz")
        assert answer.status == 503 and "database" in answer.json()["status"], answer
        assert status(own.api(), "/livez") == 200
        (own.folder / "elsewhere.db").rename(database)
        assert status(own.api(), "/readyz") == 200


def test_without_its_store_or_room_the_receiver_is_not_ready(folder, pki):
    with opened(House(folder, pki)) as own:
        own.start_broker()
        receiver = own.start_receiver()
        https = own.https(own.pki.service("operator"))
        wait_until(lambda: status(https, "/readyz") == 200, "readiness")
        shutil.rmtree(own.store / ".incoming")
        answer = https.request("GET", "/readyz")
        assert answer.status == 503 and "store" in answer.json()["status"], answer
        assert status(https, "/livez") == 200
        receiver.stop()
        own.start_receiver({"limits": {"free_space_floor": "1000T"}})
        https = own.https(own.pki.service("operator"))
        wait_until(lambda: "disk" in https.request("GET", "/readyz").json()["status"], "the disk to be called full")
        assert status(https, "/readyz") == 503
