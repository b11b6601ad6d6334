"""The identities and invite ids that the session manager assigns.

They are computed from the deployment's secret, the session and the attempt, so that a process that takes over a session
computes the same ones. Only the invited service knows its invite id, which can't be guessed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from manager_agent.session.session import OUR_IDENTITIES

READABLE = 40
"""The maximum characters of the service id in an identity."""


class Identities:
    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"session-manager/names/" + secret.encode()).digest()

    def manager(self, session_id: str, attempt: int) -> str:
        """The identity of the `attempt`-th manager of a session."""
        return f"{OUR_IDENTITIES}manager-{attempt}-{self._digest('manager', session_id, attempt)[:8]}"

    def service(self, session_id: str, entry: int, service_id: str, attempt: int) -> str:
        """The identity with which the service of an entry's `attempt`-th attempt joins."""
        readable = re.sub(r"[^A-Za-z0-9_.-]", "", service_id)[:READABLE]
        return f"{OUR_IDENTITIES}{readable}-{attempt}-{self._digest('service', session_id, entry, attempt)[:8]}"

    def invite(self, session_id: str, entry: int, attempt: int) -> str:
        """The id of an invite, the same over retries: 128 bits in base32."""
        return "inv_" + self._digest("invite", session_id, entry, attempt)[:26]

    def _digest(self, *parts: object) -> str:
        text = "/".join(map(str, parts)).encode()
        return base64.b32encode(hmac.digest(self._key, text, "sha256")).decode().lower()
