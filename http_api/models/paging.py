"""Lists in pages: newest first, and a cursor that stays right while sessions come and go. PURE."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from http_api.models.field_types import wrong
from manager_agent.session.session import Session

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
SESSION_ID = re.compile(r"ses_[0-9A-Z]{26}")


def page(sessions: Iterable[Session], *, limit: int, after: str | None) -> tuple[list[Session], str | None]:
    """At most `limit` of the sessions, newest first, from the one after the id `after`; and the cursor of the
    next page, or None when this is the last. Session ids sort by the time they were made."""
    rest = [session for session in sessions if after is None or session.session_id < after]
    rest.sort(key=lambda session: session.session_id, reverse=True)
    shown = rest[:limit]
    return shown, write_cursor(shown[-1].session_id) if len(rest) > limit else None


def write_cursor(session_id: str) -> str:
    return base64.urlsafe_b64encode(session_id.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The session id in a cursor. A validator: raises what pydantic reports."""
    try:
        session_id = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        session_id = ""
    if not SESSION_ID.fullmatch(session_id):
        raise wrong("is not a cursor that this API gave")
    return session_id
