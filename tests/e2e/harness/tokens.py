"""Tokens made and checked by somebody else's JWT library."""

import base64
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization


def verify(token, public_pem, typ):
    """The claims, after a check as strict as protocol.md asks for."""
    assert jwt.get_unverified_header(token)["typ"] == typ
    key = serialization.load_pem_public_key(public_pem.read_bytes())
    return jwt.decode(token, key, algorithms=["EdDSA"], options={"verify_aud": False})


def sign(claims, private_pem, typ, kid=None):
    key = serialization.load_pem_private_key(private_pem.read_bytes(), None)
    headers = {"typ": typ, **({"kid": kid} if kid else {})}
    return jwt.encode(claims, key, algorithm="EdDSA", headers=headers)


def unsigned(claims, typ):
    """The classic forgery: alg none."""
    return f"{part({'alg': 'none', 'typ': typ})}.{part(claims)}."


def part(members):
    return base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")


def with_claims(token, **changes):
    """The token with other claims below the old signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"{head}.{part({**claims, **changes})}.{signature}"


def ticket(pki, client, upload, path, /, key="coordinator", typ="beckon-ticket+jwt", **changes):
    """An upload ticket as the coordinator signs it; a claim changed to None is left out."""
    now = int(time.time())
    claims = {"scope": "upload", "aud": client, "jti": upload, "path": str(path), "iat": now, "exp": now + 600, **changes}
    return sign({name: value for name, value in claims.items() if value is not None}, pki.token_key(key), typ)


def operator_token(house, user, clients, scope="read,pull", ttl="1h", key="coordinator"):
    """A file with a token of `beckon token create`, as a user would have it."""
    path = house.folder / f"{user}-{len(list(house.folder.glob('*.jwt')))}.jwt"
    done = house.cli("token", "create", "--user", user, "--scope", scope, "--clients", clients, "--ttl", ttl,
                     "--key", house.pki.token_key(key), "-o", path)
    assert done.returncode == 0, done.stderr
    return path
