"""What the session manager lets out in tests: every token it hands out, and every secret in a place without secrets.

Filled by conftest.py while the tests run. After each test, conftest.py fails it if something was found: a token that
grants too much, an identity that is used twice, or a leak.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from manager_agent.livekit.tokens import BACKDATED
from manager_agent.messages import Invite

GIVES_TOKENS = re.compile(r"/api/v1/(token|sessions(/[^/]+(/token|/participants)?)?)")
"""The paths whose answers may have a token in them, each in its own field."""
TOKEN_FIELDS = ("access_token", "participant_token")
JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
API_KEY = re.compile(r"\bsm_[A-Za-z0-9_-]{43}\b")
PAGES = frozenset({"text/html", "text/javascript", "text/css"})
SHOWN = 60

USER_GRANTS = frozenset(
    {
        "roomJoin",
        "room",
        "canPublish",
        "canSubscribe",
        "canPublishData",
        "canPublishSources",
        "canUpdateOwnMetadata",
    }
)
SERVICE_GRANTS = USER_GRANTS - {"canPublishSources"}
USER_CLAIMS = frozenset({"iss", "sub", "nbf", "iat", "exp", "jti", "name", "metadata", "attributes", "video", "kind"})
LIFE_MIN, LIFE_MAX = 60, 15 * 60
"""Seconds: clients renew a token a minute before it expires; the longest ready timeout, and a little more."""
OURS = "sm-"


@dataclass(slots=True)
class LeakScanner:
    secrets: set[str] = field(default_factory=set)
    """The secrets of the servers under test."""
    looked_at: Counter[str] = field(default_factory=Counter)
    """The number of texts of each kind, and of user and service tokens."""
    _found: list[str] = field(default_factory=list)
    _attempts: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    """By service identity: the only session, service and attempt that it may be used for."""

    def take_found(self) -> list[str]:
        """Return what was found since the last call."""
        found, self._found = self._found, []
        return found

    def answer(self, request: str, path: str, content_type: str, body: bytes) -> None:
        """The body of an answer of the API's."""
        text = body.decode(errors="replace")
        if content_type == "application/json" and GIVES_TOKENS.fullmatch(path):
            text = self._without_tokens(request, text)
        self.text(content_type, request, text)

    def invite(self, invite: Invite) -> None:
        """An invite that a service received."""
        if not invite.token:
            return
        assert invite.identity is not None
        self.looked_at["service token"] += 1
        attempt = (invite.session.session_id, invite.service_id, invite.attempt)
        wrong = wrong_in_service_token(claims_of(invite.token), invite)
        if self._attempts.setdefault(invite.identity, attempt) != attempt:
            wrong.append(f"{invite.identity} is also the identity of {self._attempts[invite.identity]}")
        self._found += [f"token of the invite {attempt}: {what}" for what in wrong]

    def text(self, kind: str, where: str, text: str) -> None:
        """Any text that others may read: it must contain no token and no secret."""
        self.looked_at[kind] += 1
        words = {secret for secret in self.secrets if secret in text and _is_telling(secret) and _is_word(secret, text)}
        if kind in PAGES or where.endswith(" /openapi.json"):
            words.discard("secret")  # dev mode's, and an ordinary word of English
        found = [match[0] for pattern in (JWT, API_KEY) for match in pattern.finditer(text)]
        for leak in (*words, *found):
            at = text.index(leak)
            self._found.append(f"{kind} of {where}: ...{text[max(at - SHOWN, 0) : at + SHOWN]}...")

    def _without_tokens(self, request: str, text: str) -> str:
        try:
            body: Any = json.loads(text)
        except ValueError:
            return text
        if not isinstance(body, dict):
            return text
        for name in TOKEN_FIELDS:
            if token := body.pop(name, None):
                self.looked_at["user token"] += 1
                self._found += [f"token for {request}: {what}" for what in wrong_in_user_token(claims_of(token))]
        return json.dumps(body)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def wrong_in_user_token(claims: Mapping[str, Any]) -> list[str]:
    """What is wrong with it as a token that admits one user to one room for a while."""
    wrong = [f"the claim {name}" for name in set(claims) - USER_CLAIMS]
    if claims["sub"].startswith(OURS):
        wrong.append(f"a service's identity {claims['sub']}")
    if claims.get("kind", "standard") != "standard":
        wrong.append(f"the kind {claims['kind']}")
    return wrong + _wrong_grants(claims, USER_GRANTS) + _wrong_life(claims, LIFE_MIN + 1)


def wrong_in_service_token(claims: Mapping[str, Any], invite: Invite) -> list[str]:
    """What is wrong with it as a token for one attempt of one service in one room."""
    wrong = []
    if claims["video"].get("room") != invite.session.room_name:
        wrong.append(f"the room {claims['video'].get('room')}")
    if (claims["sub"], claims.get("kind")) != (invite.identity, "agent") or not claims["sub"].startswith(OURS):
        wrong.append(f"the identity {claims['sub']} of kind {claims.get('kind')}")
    return wrong + _wrong_grants(claims, SERVICE_GRANTS) + _wrong_life(claims, LIFE_MIN)


def _wrong_grants(claims: Mapping[str, Any], allowed: frozenset[str]) -> list[str]:
    granted = {name for name, value in claims["video"].items() if value}
    excess, missing = granted - allowed, {"roomJoin", "room"} - granted
    return [f"the grant {name}" for name in sorted(excess)] + [f"no grant {name}" for name in sorted(missing)]


def _wrong_life(claims: Mapping[str, Any], least: int) -> list[str]:
    life = claims["exp"] - claims["nbf"] - BACKDATED
    return [] if least <= life <= LIFE_MAX else [f"a life of {life} s"]


def _is_telling(secret: str) -> bool:
    """Not a placeholder of a single repeated character."""
    return len(set(secret)) > 1


def _is_word(secret: str, text: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9_-]){re.escape(secret)}(?![A-Za-z0-9_-])", text) is not None


LEAK_SCANNER = LeakScanner()
