"""What the session manager let out during the whole test run: every token, and every secret in a place without secrets.

Filled by conftest.py while the other tests run; checked by test_secrecy.py, the last test of a run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from manager_agent.messages import Invite

GIVES_TOKENS = re.compile(r"/api/v1/(token|sessions(/[^/]+(/token|/participants)?)?)")
"""The paths whose answers may have a token in them, each in its own field."""
TOKEN_FIELDS = ("access_token", "participant_token")
JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
API_KEY = re.compile(r"\bsm_[A-Za-z0-9_-]{43}\b")
PAGES = frozenset({"text/html", "text/javascript", "text/css"})
SHOWN = 60


@dataclass(slots=True)
class LeakScanner:
    secrets: set[str] = field(default_factory=set)
    """The secrets of the servers under test."""
    user_tokens: dict[str, str] = field(default_factory=dict)
    """Each with the request whose answer had it."""
    invites: dict[str, Invite] = field(default_factory=dict)
    """The invites by token."""
    looked_at: Counter[str] = field(default_factory=Counter)
    """The number of texts of each kind."""
    leaks: list[str] = field(default_factory=list)

    def answer(self, request: str, path: str, content_type: str, body: bytes) -> None:
        """The body of an answer of the API's."""
        text = body.decode(errors="replace")
        if content_type == "application/json" and GIVES_TOKENS.fullmatch(path):
            text = self._without_tokens(request, text)
        self.text(content_type, request, text)

    def invite(self, invite: Invite) -> None:
        if invite.token:
            self.invites[invite.token] = invite

    def text(self, kind: str, where: str, text: str) -> None:
        """Any text that others may read: it must contain no token and no secret."""
        self.looked_at[kind] += 1
        words = {secret for secret in self.secrets if secret in text and _is_telling(secret) and _is_word(secret, text)}
        if kind in PAGES or where.endswith(" /openapi.json"):
            words.discard("secret")  # dev mode's, and an ordinary word of English
        found = [match[0] for pattern in (JWT, API_KEY) for match in pattern.finditer(text)]
        for leak in (*words, *found):
            at = text.index(leak)
            self.leaks.append(f"{kind} of {where}: ...{text[max(at - SHOWN, 0) : at + SHOWN]}...")

    def _without_tokens(self, request: str, text: str) -> str:
        try:
            body: Any = json.loads(text)
        except ValueError:
            return text
        if not isinstance(body, dict):
            return text
        for name in TOKEN_FIELDS:
            if token := body.pop(name, None):
                self.user_tokens[token] = request
        return json.dumps(body)


def _is_telling(secret: str) -> bool:
    """Not a placeholder of a single repeated character."""
    return len(set(secret)) > 1


def _is_word(secret: str, text: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9_-]){re.escape(secret)}(?![A-Za-z0-9_-])", text) is not None


LEAK_SCANNER = LeakScanner()
