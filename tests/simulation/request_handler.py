"""What a replica does when a client asks it something: it reads all that was written before, then answers."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from manager_agent.session import events as ev
from manager_agent.session.session import GIVES_TOKENS, Session
from tests.simulation.protocol_rules import RULES
from tests.simulation.simulated_claims import SimulatedClaim
from tests.simulation.simulated_redis import SimulatedSession

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica

WAITS = 10.0
"""Seconds for which a request waits for a session."""


class ClientReply(StrEnum):
    DONE = "done"
    LATER = "later"
    """503 with Retry-After, or the session is still waited for."""
    UNKNOWN = "unknown"
    OVER = "over"


Answer = Callable[[ClientReply], None]
Wish = Callable[["SimulatedReplica", str, set[str]], Session | None]
"""The session that a client asks for, with this id and services that are not excluded; None if there are none."""


class RequestHandler:
    """For one request at one replica."""

    def __init__(self, replica: SimulatedReplica) -> None:
        self._replica, self._redis = replica, replica.world.redis
        self._began = replica.now

    def caught_up(self, then: Callable[[], None], answer: Answer) -> None:
        """Go on once this replica has read all that was written when it asked."""

        def asked(state: tuple[int, bool]) -> None:
            run, was_emptied = state
            if run != self._replica.run:
                self._replica.read_anew()
                answer(ClientReply.LATER)
            elif was_emptied or self._replica.link.is_behind:
                answer(ClientReply.LATER)
            else:
                self._replica.later(self._replica.link.read_lag, then)

        if not RULES.reads_what_is_newest:
            then()
            return
        self._replica.link.ask(
            lambda: (self._redis.run, self._redis.was_emptied), asked, lambda: answer(ClientReply.LATER)
        )

    # --- a new session ---

    def add(self, session_id: str, wish: Wish, claim: SimulatedClaim, then: Callable[[], None], answer: Answer) -> None:
        """Add the session that is asked for under the claim of its request. `answer`: called if it is not added."""
        self.caught_up(lambda: self._add(session_id, wish, claim, then, answer, set()), answer)

    def _add(
        self,
        session_id: str,
        wish: Wish,
        claim: SimulatedClaim,
        then: Callable[[], None],
        answer: Answer,
        excluded: set[str],
    ) -> None:
        replica = self._replica
        session = wish(replica, session_id, excluded)
        if session is None:
            answer(ClientReply.LATER)
            return
        write = replica.world.next_write()

        def added(stored: SimulatedSession | str | None) -> None:
            if isinstance(stored, str):
                self._add(session_id, wish, claim, then, answer, {*excluded, stored})
            elif stored is None:
                answer(ClientReply.LATER)
            else:
                replica.learn(session_id, stored)
                then()

        replica.link.ask(
            lambda: self._redis.add(session, replica.id, write, claim), added, lambda: answer(ClientReply.LATER)
        )

    def until_room(self, session_id: str, answer: Answer) -> None:
        if RULES.room_is_awaited:
            self._wait(session_id, _has_room, answer)
        else:
            answer(ClientReply.DONE)

    # --- a token, the end ---

    def token(self, session_id: str, answer: Answer) -> None:
        self.caught_up(lambda: self._wait(session_id, self._token, answer), answer)

    def _token(self, stored: SimulatedSession | None) -> ClientReply | None:
        if stored is None:
            return ClientReply.UNKNOWN if self._replica.is_recovered else ClientReply.LATER
        if stored.session.over:
            return ClientReply.OVER
        if stored.session.state in GIVES_TOKENS:
            self._replica.world.judge.token_given(stored.session, self._began)
            return ClientReply.DONE
        return None

    def close(self, session_id: str, answer: Answer) -> None:
        def closed(stored: SimulatedSession | None, _: bool) -> None:
            answer(ClientReply.DONE if stored is not None and stored.session.over else ClientReply.LATER)

        def close() -> None:
            if self._replica.read(session_id) is None:
                answer(ClientReply.UNKNOWN)
                return
            self._replica.updates.update(session_id, ev.SessionClosed(self._replica.now), closed, fence=None)

        self.caught_up(close, answer)

    # --- waiting ---

    def _wait(
        self, session_id: str, check: Callable[[SimulatedSession | None], ClientReply | None], answer: Answer
    ) -> None:
        """Answer once `check` has a reply, or after a while."""
        is_answered = False

        def checked(stored: SimulatedSession | None) -> bool:
            nonlocal is_answered
            if is_answered:
                return True
            reply = check(stored)
            if reply is None:
                return False
            is_answered = True
            answer(reply)
            return True

        def expired() -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                answer(ClientReply.LATER)

        self._replica.wait_for(session_id, checked)
        if not is_answered:
            self._replica.later(WAITS, expired)


def _has_room(stored: SimulatedSession | None) -> ClientReply | None:
    if stored is None:
        return ClientReply.LATER
    if stored.session.over:
        return ClientReply.OVER
    return ClientReply.DONE if stored.session.room.created_at is not None else None
