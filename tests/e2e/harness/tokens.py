"""Tokens made and checked by somebody else's JWT library."""

import base64
import json

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
