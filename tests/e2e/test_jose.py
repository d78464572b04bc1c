"""jose from npm, unmodified, on the other end of our operator tokens: it verifies ours, and we take its own and no forgery."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from harness.https import HttpsClient
from harness.npm import install
from harness.tokens import operator_token
from harness.waiting import SLOWNESS

HERE = Path(__file__).parent / "jose"


@pytest.fixture(scope="module")
def jose(tmp_path_factory):
    """Runs jobs (see tokens.mjs) with the library as package-lock.json names it."""
    folder = install(HERE, tmp_path_factory.mktemp("jose"))

    def run(*jobs):
        result = subprocess.run(["node", "tokens.mjs"], cwd=folder, input=json.dumps(jobs), capture_output=True, text=True,
                                timeout=60 * SLOWNESS, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)
    return run


@pytest.fixture(scope="module")
def house(shared_house):
    shared_house.start_broker()
    shared_house.start_coordinator()
    return shared_house


@pytest.fixture
def keys(house):
    """(private, public) of the coordinator, as PEM."""
    return house.pki.token_key("coordinator").read_text(), house.pki.token_public("coordinator").read_text()


def claims(**changes):
    now = int(time.time())
    made = {"sub": "alice", "scope": "read pull", "clients": ["restaurant_*"], "iat": now, "exp": now + 600, **changes}
    return {name: value for name, value in made.items() if value is not None}


def status(house, token):
    return HttpsClient(house.coordinator_port, house.pki.ca, bearer=token).request("GET", "/clients").status


def test_jose_verifies_a_token_of_beckon_token_create(house, jose, keys):
    token = operator_token(house, "alice", "restaurant_*,kiosk-7", ttl="12h").read_text().strip()
    (said,) = jose({"do": "verify", "token": token, "publicKey": keys[1]})
    assert said["header"]["alg"] == "EdDSA" and said["header"]["typ"] == "beckon-operator+jwt" and len(said["header"]["kid"]) == 43
    got = said["claims"]
    assert (got["sub"], got["scope"], got["clients"]) == ("alice", "read pull", ["restaurant_*", "kiosk-7"])
    assert got["exp"] - got["iat"] == 12 * 3600
    altered = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    assert jose({"do": "verify", "token": altered, "publicKey": keys[1]}) == [{"error": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"}]


@pytest.mark.parametrize("changes", [
    {}, {"iat": None}, {"aud": "coordinator"}, {"aud": ["x", "coordinator"]}, {"scope": ["read", "pull"]}, {"scope": "admin"},
    {"nbf": 1}, {"jti": "x", "iss": "somebody", "more": {"a": [1]}}])
def test_token_of_jose_is_accepted(house, jose, keys, changes):
    (made,) = jose({"do": "sign", "claims": claims(**changes), "privateKey": keys[0]})
    assert status(house, made["token"]) == 200


@pytest.mark.parametrize("changes", [
    {"exp": 1700000000}, {"exp": None}, {"exp": "never"}, {"nbf": 4000000000}, {"aud": "restaurant_1"}, {"aud": ["receiver"]}, {"aud": []},
    {"aud": ""}, {"sub": None}, {"sub": ""}, {"sub": "a\r\nb"}, {"sub": "x" * 65}, {"clients": None}, {"clients": "*"},
    {"clients": ["a/b"]}, {"clients": [1]}, {"clients": ["*"] * 65}, {"scope": None}, {"scope": 7}])
def test_token_with_a_wrong_claim_is_refused(house, jose, keys, changes):
    (made,) = jose({"do": "sign", "claims": claims(**changes), "privateKey": keys[0]})
    assert status(house, made["token"]) == 401


def test_forgeries_are_refused(house, jose, keys):
    private, public = keys
    stranger = house.pki.token_key("receiver").read_text()
    jobs = {
        "alg none": {"do": "none", "claims": claims()},
        "HS256 with the public key as the secret": {"do": "hs256", "claims": claims(), "secret": public},
        "the same without the last newline": {"do": "hs256", "claims": claims(), "secret": public.strip()},
        "somebody else's key": {"do": "sign", "claims": claims(), "privateKey": stranger},
        "of another kind": {"do": "sign", "claims": claims(), "privateKey": private, "header": {"typ": "beckon-ticket+jwt"}},
        "of no kind": {"do": "sign", "claims": claims(), "privateKey": private, "header": {"typ": "JWT"}},
        "with another kid": {"do": "sign", "claims": claims(), "privateKey": private, "header": {"kid": "x" * 43}},
    }
    for what, made in zip(jobs, jose(*jobs.values())):
        assert status(house, made["token"]) == 401, what


def test_altered_tokens_are_refused(house, jose, keys):
    """Each character of the signed text made another one; tests/unit/protocol/test_grant.c flips every bit."""
    (made,) = jose({"do": "sign", "claims": claims(), "privateKey": keys[0]})
    token = made["token"]
    assert status(house, token) == 200
    for at in range(0, len(token), 7):
        other = "A" if token[at] != "A" else "B"
        assert status(house, token[:at] + other + token[at + 1:]) == 401, at
    head, body, signature = token.split(".")
    for bent in (f"{head}.{body}.", f"{head}.{body}", f"{head}..{signature}", f".{body}.{signature}", f"{token}.", f"{token}.x",
                 f"{token}=", "." * 2, "x" * 9000):
        assert status(house, bent) == 401, bent[:40]
