"""Pagination: newest first, as session ids sort by creation time, with a cursor that stays valid while sessions are
added and removed. PURE."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from itertools import islice

from http_api.models.field_types import wrong
from manager_agent.session.session import Session

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
SESSION_ID = re.compile(r"ses_[0-9A-Z]{26}")


def page(sessions: Iterable[Session], limit: int) -> tuple[list[Session], str | None]:
    """One page: at most `limit` of these sessions, which are in the order of the list and looked at no further than
    that, and the cursor of the next page (None on the last page)."""
    found = list(islice(sessions, limit + 1))
    shown = found[:limit]
    return shown, write_cursor(shown[-1].session_id) if len(found) > limit else None


def write_cursor(session_id: str) -> str:
    return base64.urlsafe_b64encode(session_id.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The session id in a cursor. For use as a pydantic validator: raises PydanticCustomError."""
    try:
        session_id = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        session_id = ""
    if not SESSION_ID.fullmatch(session_id):
        raise wrong("is not a cursor of this API")
    return session_id
