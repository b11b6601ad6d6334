"""Signatures of what the manager posts, in the form of LiveKit's webhooks: made by the manager, verified by services.

The `Authorization` header is a JWT without "Bearer": HS256, `iss` is the API key, `sha256` the base64 of the body's
SHA-256. The `WebhookReceiver` of every LiveKit server SDK verifies it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import jwt

LIFETIME = 300.0
"""Seconds for which a signature is valid."""
LEEWAY = 60.0
"""Seconds by which the clocks of the two sides may differ, as in LiveKit's SDKs."""
CONTENT_TYPE = "application/webhook+json"


class NotSigned(Exception):
    """The signature is not valid for this body and this key. The message says why and shows no secret."""


def signature(
    body: bytes, api_key: str, api_secret: str, *, lifetime: float = LIFETIME, at: float | None = None
) -> str:
    """The signature of `body`, valid for `lifetime` seconds from `at` (None: now, by the wall clock), and for LEEWAY
    before: the clock of the receiver may be behind, and not every JWT library allows for that."""
    now = int(time.time() if at is None else at)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    claims = {"iss": api_key, "nbf": now - int(LEEWAY), "exp": now + int(lifetime), "sha256": digest}
    return jwt.encode(claims, api_secret, "HS256")


def signed_headers(body: bytes, api_key: str, api_secret: str, *, at: float | None = None) -> dict[str, str]:
    """The headers of a post of `body` at `at` (None: now, by the wall clock)."""
    return {"Content-Type": CONTENT_TYPE, "Authorization": signature(body, api_key, api_secret, at=at)}


def verify(body: bytes, authorization: str, api_key: str, api_secret: str) -> None:
    """Check the `Authorization` header of a post of `body`, the bytes as received. Raises NotSigned."""
    try:
        claims = jwt.decode(authorization, api_secret, ["HS256"], {"require": ["exp"]}, issuer=api_key, leeway=LEEWAY)
        signed = base64.b64decode(claims.get("sha256", ""))
    except Exception as error:  # PyJWT also lets errors of the JSON parser through, such as RecursionError
        raise NotSigned(f"the signature does not hold: {type(error).__name__}") from None
    if not hmac.compare_digest(signed, hashlib.sha256(body).digest()):
        raise NotSigned("the signature is for another body")
