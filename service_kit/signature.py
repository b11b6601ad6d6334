"""Whether a message comes from the manager: it is signed as LiveKit signs its webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac

from livekit import api


class NotSigned(Exception):
    """The message is not signed with the keys that we share with the manager."""


class Signature:
    """What `livekit.api.WebhookReceiver` checks, over the bytes as they came, and with one exception."""

    def __init__(self, api_key: str, api_secret: str) -> None:
        self._verifier = api.TokenVerifier(api_key, api_secret)

    def require(self, body: bytes, authorization: str) -> None:
        """`authorization` is the bare JWT of the header of that name. Raises NotSigned."""
        try:
            claims = self._verifier.verify(authorization)
        except Exception as error:  # the verifier lets the JWT library's own errors through
            raise NotSigned(f"the signature does not hold: {type(error).__name__}") from None
        signed = base64.b64encode(hashlib.sha256(body).digest())
        if not hmac.compare_digest(str(claims.sha256).encode(), signed):
            raise NotSigned("the signature is for another body")
