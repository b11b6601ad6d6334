"""The bound on ended sessions."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.session import End, EndReason, Session, User
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import RoomNameTaken

pytestmark = pytest.mark.unit

NOW = 1_000.0


def store(**most: int) -> MemoryStore:
    return MemoryStore(lambda: NOW, ended=EndedSessions(**most))


async def ended(kept: MemoryStore, number: int, owner: str = "shop") -> None:
    """Open a session and end it."""
    asked = Session(f"ses_{number}", f"room-{number}", User("alice"), NOW, owner=owner)
    await kept.add(replace(asked, end=End(EndReason.CLOSED, NOW, cleaning_since=NOW)))
    await kept.update(asked.session_id, ev.CleanedUp(NOW))


def ids(kept: MemoryStore) -> list[str]:
    return [session.session_id for session in kept.list()]


async def test_oldest_ended_sessions_of_a_caller_are_forgotten_first() -> None:
    kept = store(per_caller=2)
    await kept.add(Session("ses_live", "room-live", User("alice"), NOW, owner="shop"))
    await ended(kept, 1, "other")
    for number in range(2, 6):
        await ended(kept, number)
    assert ids(kept) == ["ses_live", "ses_1", "ses_4", "ses_5"]
    assert kept.counts.live == 1


async def test_caller_with_the_most_ended_sessions_loses_its_oldest() -> None:
    kept = store(in_all=3)
    await ended(kept, 1, "other")
    for number in range(2, 7):
        await ended(kept, number)
    assert ids(kept) == ["ses_1", "ses_5", "ses_6"]


async def test_room_name_of_a_forgotten_session_stays_reserved() -> None:
    kept = store(per_caller=1)
    await ended(kept, 1)
    await ended(kept, 2)
    assert ids(kept) == ["ses_2"]
    with pytest.raises(RoomNameTaken):
        await kept.add(Session("ses_3", "room-1", User("alice"), NOW))


async def test_removed_session_makes_room_for_another() -> None:
    kept = store(per_caller=1)
    await ended(kept, 1)
    await kept.remove("ses_1")
    await ended(kept, 2)
    assert ids(kept) == ["ses_2"]
