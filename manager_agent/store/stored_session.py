"""What Redis has of one session, and what an entry of the changelog tells of it. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from manager_agent.frozen import Frozen

STORED_FIELDS = ("v", "w", "o", "f", "n", "b")
"""The fields of the hash of a session that are read, in the order in which `read_hash` takes them."""


class Ownership(Frozen):
    """Which replica acts for a session. What was begun with a smaller fence is refused."""

    owner: str
    fence: int


class TakeIf(StrEnum):
    """On which condition a session gets another owner (lua/take_session.lua)."""

    ANYWAY = "anyway"
    OWNER_IS_DEAD = "owner_is_dead"
    """Its owner has left, or its lease has lapsed."""
    TAKER_STAYS = "taker_stays"
    """The new owner is alive and does not drain."""


class StoredSession(Frozen):
    session_id: str
    version: int
    """Grows by one with each write."""
    write: str
    """Names the write, also when its answer was lost."""
    ownership: Ownership
    room_name: str = ""
    form: bytes | None = None
    """None: only the owner has changed."""
    is_new: bool = False
    is_restored: bool = False


def read_hash(session_id: str, values: Sequence[bytes | None]) -> StoredSession | None:
    """None: there is no such session. Raises ValueError."""
    version, write, owner, fence, room_name, form = values
    if version is None:
        return None
    if write is None or owner is None or fence is None or room_name is None or form is None:
        raise ValueError("a session without some of its fields")
    ownership = Ownership(owner.decode(), int(fence))
    return StoredSession(session_id, int(version), write.decode(), ownership, room_name.decode(), form)


def read_session_entry(fields: Mapping[bytes, bytes]) -> StoredSession:
    """Raises ValueError."""
    try:
        return StoredSession(
            fields[b"id"].decode(),
            int(fields[b"v"]),
            fields[b"w"].decode(),
            Ownership(fields[b"o"].decode(), int(fields[b"f"])),
            fields.get(b"n", b"").decode(),
            fields.get(b"b"),
            b"new" in fields,
            b"restored" in fields,
        )
    except KeyError as error:
        raise ValueError(f"an entry without {error}") from None
