"""JWTs that are signed here: what PyJWT makes of the same claims, and reads in them."""

from __future__ import annotations

import json

import jwt
import pytest

from manager_agent.livekit.jws import JwtSigner, unverified_claims

pytestmark = pytest.mark.unit

SECRET = "the secret of a LiveKit server, ü"


@pytest.mark.parametrize("secret", ["s", SECRET, "s" * 64, "s" * 65, "s" * 200])
@pytest.mark.parametrize("claims", [{}, {"sub": "alice"}, {"sub": "会议", "exp": 2**33}, {"a": "b" * 10_000}])
def test_a_jwt_is_byte_for_byte_what_pyjwt_signs(claims: dict[str, object], secret: str) -> None:
    payload = json.dumps(claims, separators=(",", ":")).encode()
    token = JwtSigner(secret).signed(payload)
    assert token == jwt.encode(claims, secret, "HS256")
    assert unverified_claims(token) == claims
