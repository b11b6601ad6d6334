"""A request with an Idempotency-Key at one replica: it is executed under a claim, which ends once the response is
kept. What http_api/limits does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from manager_agent.session.session import EndReason
from tests.simulation.protocol_rules import RULES
from tests.simulation.request_handler import ClientReply, RequestHandler, Wish
from tests.simulation.simulated_claims import KeptResponse, SimulatedClaim

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica

RETRY_PAUSE = 1.0
"""Seconds until a response is kept again, and a claim ended again, when Redis was away."""

Respond = Callable[[ClientReply, str], None]
"""Takes the reply, and the id of the session that it is about, if there is one."""


class KeyedRequest:
    def __init__(self, replica: SimulatedReplica, key: str, wish: Wish, respond: Respond) -> None:
        self._replica, self._world, self._claims = replica, replica.world, replica.world.redis.claims
        self._key, self._wish, self._respond = key, wish, respond
        self._handler = RequestHandler(replica)
        self._claim = SimulatedClaim(key, replica.id, self._world.next_write())
        self._session_id = ""

    def begin(self) -> None:
        replica = self._replica
        if not replica.may_act or replica.is_draining or self._key in replica.executing:
            self._respond(ClientReply.LATER, "")
            return
        replica.executing.add(self._key)
        self._take(None)

    # --- the claim ---

    def _take(self, expected: SimulatedClaim | None) -> None:
        self._replica.link.ask(
            lambda: self._claims.take(self._claim, expected), self._taken, lambda: self._release(ClientReply.LATER)
        )

    def _taken(self, found: SimulatedClaim | None) -> None:
        replica = self._replica
        if found is None:
            self._handler.caught_up(self._execute, self._release)
        elif found.replica_id == replica.id or replica.membership.roll.is_dead(found.replica_id):
            self._take(found)
        else:
            self._finish(ClientReply.LATER)

    def _release(self, reply: ClientReply) -> None:
        """It may have been claimed, and there is nothing to keep."""
        self._end()
        self._finish(reply)

    def _finish(self, reply: ClientReply) -> None:
        self._replica.executing.discard(self._key)
        self._respond(reply, self._session_id)

    def _end(self) -> None:
        self._replica.link.ask(
            lambda: self._claims.end(self._claim), lambda _: None, lambda: self._replica.later(RETRY_PAUSE, self._end)
        )

    # --- the execution ---

    def _execute(self) -> None:
        """All that was written before the claim is known."""
        if (kept := self._claims.kept(self._key)) is not None:
            self._session_id = kept.session_id
            self._release(kept.reply)
        elif (earlier := self._earlier_session()) is not None:
            self._session_id = earlier
            self._wait()
        else:
            self._session_id = self._world.next_session_id(self._key)
            self._handler.add(self._session_id, self._wish, self._claim, self._wait, self._release)

    def _wait(self) -> None:
        """The session is stored."""
        if not RULES.claims_until_kept:
            self._end()
        self._handler.until_room(self._session_id, self._executed)

    def _earlier_session(self) -> str | None:
        """The newest session that a request with this key has made, unless it never got a room."""
        for session_id in reversed(self._world.session_ids(self._key)):
            if (stored := self._replica.read(session_id)) is not None:
                end = stored.session.end
                is_void = end is not None and end.reason is EndReason.ROOM_UNAVAILABLE
                return None if is_void else session_id
        return None

    def _executed(self, reply: ClientReply) -> None:
        if reply is ClientReply.LATER:
            self._release(reply)
        else:
            self._keep(reply)

    def _keep(self, reply: ClientReply) -> None:
        """The client gets the response once it is kept."""
        judge, response = self._world.judge.requests, KeptResponse(reply, self._session_id)

        def keep() -> None:
            judge.kept(self._claim)
            self._claims.keep(self._key, response)

        self._replica.link.ask(
            keep, lambda _: self._release(reply), lambda: self._replica.later(RETRY_PAUSE, self._keep, reply)
        )
