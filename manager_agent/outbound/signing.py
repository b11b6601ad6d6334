"""Signing what we post, as LiveKit signs its webhooks: the `WebhookReceiver` of any LiveKit server SDK verifies it."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

from livekit import api

LIFETIME = timedelta(minutes=5)
CONTENT_TYPE = "application/webhook+json"


def signed_headers(body: bytes, api_key: str, api_secret: str) -> dict[str, str]:
    """The headers of a post of this body: a JWT with the base64 of the body's SHA-256, without "Bearer"."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    token = api.AccessToken(api_key, api_secret).with_sha256(digest).with_ttl(LIFETIME)
    return {"Content-Type": CONTENT_TYPE, "Authorization": token.to_jwt()}
