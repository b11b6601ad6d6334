"""Signs JWTs with HS256 (RFC 7515).

PyJWT looks at the key, the algorithm and the header of each token anew, which takes five times as long as to sign it.
All of them are the same for every token here. Tokens of others are verified by PyJWT.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec


def _encoded(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")


_BLOCK = 64
"""Bytes of a block of SHA-256."""
_HEADER = _encoded(b'{"alg":"HS256","typ":"JWT"}')


class JwtSigner:
    """HMAC-SHA-256 (RFC 2104) by SHA-256 alone: to copy a keyed HMAC of OpenSSL takes longer than the hashing."""

    def __init__(self, secret: str) -> None:
        key = secret.encode()
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        padded = key.ljust(_BLOCK, b"\0")
        self._inner, self._outer = (hashlib.sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
        """To be copied: with the key, they have half of the work behind them."""

    def signed(self, payload: bytes) -> str:
        """The JWT with these claims, as JSON."""
        signed = b".".join((_HEADER, _encoded(payload)))
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        return b".".join((signed, _encoded(outer.digest()))).decode()


def unsigned(payload: bytes) -> str:
    """A JWT with these claims, as JSON, that is to be signed: no one accepts it as it is."""
    return b".".join((_HEADER, _encoded(payload), b"")).decode()


def unverified_claims(token: str) -> dict[str, Any]:
    """The claims of a JWT that this process has signed itself, or that LiveKit has made for it."""
    payload = token.split(".")[1]
    return msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=dict[str, Any])
