"""Two users, each with devices of their own: neither sees, asks or fetches anything of the other's."""

import json
import re

import pytest

from harness.tokens import operator_token, verify
from harness.waiting import wait_until

OURS, THEIRS = "restaurant_1", "factory_1"


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start(agents=(OURS, THEIRS))


@pytest.fixture(scope="module")
def alice(house):
    return operator_token(house, "alice", "restaurant_*")


@pytest.fixture(scope="module")
def bob(house):
    return operator_token(house, "bob", "factory_*,kiosk-?")


def completed(house, client, upload, data=b"theirs"):
    """An upload that somebody made by hand; returns its id once the coordinator knows of it."""
    answer = house.https(house.pki.client(client)).request("PUT", f"/v1/uploads/{upload}", data)
    assert answer.status == 201, answer
    wait_until(lambda: house.api().request("GET", f"/download/{upload}?clientId={client}").status == 200, f"{upload} to be known")
    return upload


def said(answer, name):
    """What an answer says, without what differs in any two: when, and the name that was asked for."""
    headers = {key: value for key, value in answer.headers.items() if key not in ("Date", "Content-Length")}
    return answer.status, headers, answer.body.decode().replace(name, "NAME")


# what one may


def test_user_gets_a_file_of_an_own_device(house, alice, folder):
    data = b"the till roll" * 1000
    path = house.agents[OURS].file("till", data)
    done = house.cli("--token-file", alice, "get", OURS, path, "-o", folder / "out")
    assert done.returncode == 0, done.stderr
    assert (folder / "out").read_bytes() == data


def test_read_alone_does_not_pull(house, folder, upload):
    looker = operator_token(house, "looker", "*", scope="read")
    completed(house, OURS, upload)
    api = house.api(looker)
    assert api.request("GET", f"/download/{upload}").status == 200
    for method, path in (("POST", "/download"), ("DELETE", f"/download/{upload}"), ("GET", f"/download/{upload}/content")):
        answer = api.request(method, path, {"clientId": OURS, "fileName": "/x"} if method == "POST" else None)
        assert answer.status == 403 and answer.json()["reason"] == "INSUFFICIENT_SCOPE", answer
        assert answer["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="pull"'
    done = house.cli("--token-file", looker, "get", OURS, "/x", "-o", folder / "out")
    assert done.returncode == 3 and "pull" in done.stderr, done
    assert not (folder / "out").exists()


def test_pull_alone_does_not_list(house, alice):
    puller = operator_token(house, "puller", "*", scope="pull")
    for path in ("/clients", f"/clients/{OURS}", "/downloads", "/download/x"):
        assert house.api(puller).request("GET", path).status == 403
    answer = house.api(puller).request("POST", "/download", {"clientId": "nobody", "fileName": "/x"})
    assert answer.status == 404 and answer.json()["knownClients"] == []


def test_admin_may_do_all_of_it(house):
    admin = operator_token(house, "admin", "*", scope="admin")
    listed = house.api(admin).request("GET", "/clients").json()
    assert {client["id"] for client in listed["clients"]} == {OURS, THEIRS}


# what one may not even see


def test_lists_hold_only_ones_own(house, alice, bob, upload):
    completed(house, OURS, f"{upload}-a")
    completed(house, THEIRS, f"{upload}-b")
    for token, own in ((alice, OURS), (bob, THEIRS)):
        clients = house.api(token).request("GET", "/clients").json()
        assert [client["id"] for client in clients["clients"]] == [own] and clients["count"] == 1
        rows = house.api(token).request("GET", "/downloads?limit=500").json()
        assert {row["clientId"] for row in rows["downloads"]} == {own} and rows["count"] == len(rows["downloads"])
    answer = house.api(alice).request("GET", f"/downloads?client={THEIRS}").json()
    assert answer == house.api(alice).request("GET", "/downloads?client=nobody").json()
    done = house.cli("--token-file", alice, "clients", "--json")
    assert THEIRS not in done.stdout and OURS in done.stdout


def test_others_look_like_nobody(house, alice, upload):
    theirs = completed(house, THEIRS, upload)
    absent = "x" * len(theirs)
    api = house.api(alice)
    for method, path in (("GET", "/download/NAME"), ("GET", f"/download/NAME?clientId={THEIRS}"), ("DELETE", "/download/NAME"),
                         ("DELETE", f"/download/NAME?clientId={THEIRS}"), ("GET", "/download/NAME/content"),
                         ("GET", f"/download/NAME/content?clientId={THEIRS}")):
        hidden = said(api.request(method, path.replace("NAME", theirs)), theirs)
        assert hidden == said(api.request(method, path.replace("NAME", absent)), absent)
        assert hidden[0] == 404
    hidden, nobody = (said(api.request("GET", f"/clients/{name}"), name) for name in (THEIRS, "nobody"))
    assert hidden == nobody and hidden[0] == 404
    hidden, nobody = (said(api.request("POST", "/download", {"clientId": name, "fileName": "/x"}), name) for name in (THEIRS, "nobody"))
    assert hidden == nobody and hidden[0] == 404 and json.loads(hidden[2])["knownClients"] == [OURS]
    row = house.request_row(theirs)
    assert row["status"] == "completed" and row["cancelRequested"] is False


def test_others_devices_are_not_asked(house, alice, folder):
    path = house.agents[THEIRS].file("plan", b"secret plan")
    before = len(house.downloads())
    theirs = house.cli("--token-file", alice, "get", THEIRS, path, "-o", folder / "out")
    nobody = house.cli("--token-file", alice, "get", "factory_9", path, "-o", folder / "out")
    assert theirs.returncode == nobody.returncode != 0
    assert theirs.stderr.replace(THEIRS, "factory_9") == nobody.stderr and not theirs.stdout
    assert len(house.downloads()) == before and not (folder / "out").exists()


def test_equal_ids_of_two_users_never_meet(house, alice, bob, upload):
    completed(house, OURS, upload, b"ours")
    completed(house, THEIRS, upload, b"theirs, and longer")
    assert house.api().request("GET", f"/download/{upload}").json()["reason"] == "AMBIGUOUS_ID"
    for token, own, size in ((alice, OURS, 4), (bob, THEIRS, 18)):
        wait_until(lambda: house.api(token).request("GET", f"/download/{upload}").json().get("size") == size, f"{own}'s row")
        row = house.api(token).request("GET", f"/download/{upload}").json()
        assert row["clientId"] == own
        location = house.api(token).request("GET", f"/download/{upload}/content")["Location"]
        ticket = location.partition("ticket=")[2]
        claims = verify(ticket, house.pki.token_public("coordinator"), "beckon-ticket+jwt")
        assert claims["aud"] == own and claims["sub"] == token.name.partition("-")[0]


def test_pages_and_cursors_tell_nothing_of_others(house, alice, upload):
    mine, theirs = [], []
    for i in range(4):
        mine.append(completed(house, OURS, f"{upload}-{i}"))
        theirs.append(completed(house, THEIRS, f"{upload}-t{i}"))
    seen, cursor = [], ""
    while cursor is not None and len(seen) < 500:
        page = house.api(alice).request("GET", f"/downloads?client={OURS}&limit=1{cursor}").json()
        seen += [row["requestId"] for row in page["downloads"]]
        cursor = page["nextCursor"] and f"&cursor={page['nextCursor']}"
        assert not cursor or not re.search(THEIRS, cursor)
    assert seen[:4] == mine[::-1]
    page = house.api(alice).request("GET", "/downloads?limit=2").json()
    assert page["nextCursor"] == f"{OURS}/{page['downloads'][-1]['requestId']}"
    hidden = said(house.api(alice).request("GET", f"/downloads?cursor={THEIRS}/{theirs[0]}"), theirs[0])
    assert hidden == said(house.api(alice).request("GET", f"/downloads?cursor={THEIRS}/absent-id"), "absent-id")
    assert hidden[0] == 400


def test_idempotency_keys_of_two_users_never_meet(house, alice, upload):
    carol = operator_token(house, "carol", "restaurant_*")
    ids = set()
    for token in (alice, carol, alice, carol):
        path = "/a" if token is alice else "/c"
        answer = house.api(token).request("POST", "/download", {"clientId": OURS, "fileName": path}, {"Idempotency-Key": upload})
        assert answer.status == 202, answer
        ids.add((token, answer.json()["requestId"]))
    assert len(ids) == 2


# tokens as such


def test_token_is_a_file_that_only_its_owner_reads(house, alice):
    assert alice.stat().st_mode & 0o777 == 0o600
    done = house.cli("token", "create", "--user", "a", "--scope", "read", "--clients", "*", "--key", house.pki.token_key("coordinator"),
                     "-o", alice)
    assert done.returncode == 1 and "File exists" in done.stderr
    done = house.cli("token", "create", "--user", "a", "--scope", "read", "--clients", "*", "--key", house.pki.token_key("coordinator"))
    assert done.returncode == 0 and done.stderr == "" and re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.stdout)


def test_token_verify_says_what_a_token_says(house, alice, folder):
    public = house.pki.token_public("coordinator")
    done = house.cli("token", "verify", "--key", public, "--json", alice)
    assert done.returncode == 0, done.stderr
    assert {**json.loads(done.stdout), "issuedAt": "", "expiresAt": ""} == {
        "user": "alice", "scope": "read pull", "clients": ["restaurant_*"], "issuedAt": "", "expiresAt": ""}
    assert "restaurant_*" in house.cli("token", "verify", "--key", public, alice).stdout
    assert house.cli("token", "verify", "--key", house.pki.token_public("receiver"), alice).returncode == 1
    bent = folder / "bent"
    token = alice.read_text().strip()
    bent.write_text(token[:-20] + ("B" if token[-20] == "A" else "A") + token[-19:] + "\n")
    done = house.cli("token", "verify", "--key", public, bent)
    assert done.returncode == 1 and done.stdout == ""


@pytest.mark.parametrize("words", [
    [], ["make"], ["create"], ["create", "--user", "a b"], ["create", "--scope", "write"], ["create", "--clients", "a/b"],
    ["create", "--clients", ""], ["create", "--ttl", "0"], ["verify"], ["verify", "--key", "/nonexistent", "x"]])
def test_token_mistakes_are_usage_errors(house, words):
    done = house.cli("token", *words)
    assert done.returncode in (1, 2) and done.stdout == "" and done.stderr, done
    assert done.returncode == 2 or words[-1] == "x"


def test_expired_token_is_told_so(house):
    brief = operator_token(house, "brief", "*", ttl="1s")
    answer = wait_until(lambda: (got := house.api(brief).request("GET", "/clients")).status == 401 and got, "the token to expire")
    assert answer.json()["reason"] == "TOKEN_EXPIRED" and answer["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    done = house.cli("--token-file", brief, "clients")
    assert done.returncode == 3 and "expired" in done.stderr


def test_tokens_are_in_no_log(house, alice, bob):
    for token in (alice, bob):
        assert house.api(token).request("GET", "/clients").status == 200
        signature = token.read_text().strip().rpartition(".")[2]
        for daemon in house.daemons:
            assert signature not in daemon.log()


def test_keys_rotate_with_two_valid_at_once(house, alice):
    """Last, for it restarts the coordinator: an old and a new key, then the new one alone, without a shared token."""
    def restart(**keys):
        house.coordinator.stop()
        house.daemons.remove(house.coordinator)
        house.start_coordinator({"coordinator": keys})

    old, new = (house.pki.token_public(name) for name in ("coordinator", "operators"))
    fresh = operator_token(house, "dora", "*", key="operators")
    assert house.api(fresh).request("GET", "/clients").status == 401
    restart(operator_key=[old, new])
    assert house.api(alice).request("GET", "/clients").status == 200
    assert house.api(fresh).request("GET", "/clients").status == 200
    assert house.api().request("GET", "/clients").status == 200
    restart(operator_key=new, token_file=None)
    assert house.api(alice).request("GET", "/clients").status == 401
    assert house.api(fresh).request("GET", "/clients").status == 200
    assert house.api().request("GET", "/clients").status == 401
