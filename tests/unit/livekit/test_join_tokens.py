"""What the tokens that are given out reserve and open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from manager_agent.livekit.join_tokens import JoinTokens
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.tokens import AccessToken, Tokens
from manager_agent.records.memory import MemoryRecords
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.session import User
from manager_agent.session.trespassers import SESSION_ATTRIBUTE
from manager_agent.store.room_names import LEEWAY, RoomNames
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit

SESSION = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(given.ASR))


Give = Callable[[JoinTokens], AccessToken]
GIVEN: list[Give] = [
    lambda tokens: tokens.for_user(SESSION, START),
    lambda tokens: tokens.for_human(SESSION, User("bob"), START),
    lambda tokens: tokens.for_service(SESSION, SESSION.services[given.ASR], START),
]


class WallClock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("give", GIVEN, ids=["user", "participant", "service"])
def test_token_reserves_the_name_of_its_room_until_livekit_rejects_it(give: Give) -> None:
    clock = WallClock()
    tokens = JoinTokens(Tokens("key", "s" * 32, livekit_clock=clock), RoomNames(MemoryRecords(clock), clock))
    holder = ParticipantInfo("bob", "PA_1", attributes={SESSION_ATTRIBUTE: SESSION.session_id})
    blank, own = (ListedRoom(SESSION.room_name, "RM_2", name, is_ours=False) for name in ("", SESSION.session_id))
    assert not tokens.has_old_token(blank, holder)
    expires_at = give(tokens).expires_at
    for now in (clock.now, expires_at + LEEWAY - 1):
        clock.now = now
        assert tokens.is_reserved(SESSION.room_name)
        assert (tokens.has_old_token(blank, holder), tokens.has_old_token(own, holder)) == (True, False)
    clock.now = expires_at + LEEWAY
    assert (tokens.is_reserved(SESSION.room_name), tokens.has_old_token(blank, holder)) == (False, False)


@pytest.mark.parametrize("give", GIVEN, ids=["user", "participant", "service"])
def test_name_of_a_recovered_session_is_reserved_for_every_token_it_may_have_given_out(give: Give) -> None:
    """By a process whose records are gone."""
    clock = WallClock()
    signing = Tokens("key", "s" * 32, livekit_clock=clock)
    expires_at = give(JoinTokens(signing, RoomNames(MemoryRecords(clock), clock))).expires_at
    names = RoomNames(MemoryRecords(clock), clock)
    JoinTokens(signing, names).reserve_again(SESSION, START)
    clock.now = expires_at + LEEWAY - 1
    assert names.reserved_for(SESSION.room_name, "rival") > 0
    assert names.reserved_for(SESSION.room_name, SESSION.tenant) == 0
    clock.now += SESSION.limits.replacement_timeout + SESSION.limits.user_join_timeout
    assert names.reserved_for(SESSION.room_name, "rival") == 0


def test_refusing_a_long_token_reserves_nothing() -> None:
    tokens = JoinTokens(Tokens("key", "s" * 32), RoomNames(MemoryRecords(WallClock())))
    tokens.refuse_long(SESSION, START)
    assert not tokens.is_reserved(SESSION.room_name)
