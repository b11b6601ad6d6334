"""A client and its user: asks for a session, waits for the token, joins, stays, leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen, ParticipantInfo
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Limits, Session, User
from tests.simulation.keyed_request import KeyedRequest
from tests.simulation.request_handler import ClientReply, RequestHandler
from tests.simulation.simulated_services import TYPES

if TYPE_CHECKING:
    from tests.simulation.history import PlannedSession
    from tests.simulation.judge import SessionTruth
    from tests.simulation.simulated_replica import SimulatedReplica
    from tests.simulation.world import World

LIMITS = Limits(
    ready_timeout=30.0,
    service_join_timeout=5.0,
    user_join_timeout=20.0,
    user_rejoin_timeout=6.0,
    replacement_timeout=20.0,
    max_duration=600.0,
    retention=35.0,
)
ANSWERED_WITHIN = 12.0
"""Seconds until a client gives a request up and sends it again, to another replica."""
TRIES_MAX = 20
IMPATIENT, IMPATIENT_WITHIN = 0.25, 1.5
"""The share of clients that give up asking for a session much earlier, and after how many seconds."""

Request = Callable[["SimulatedReplica", int], None]


class SimulatedClient:
    def __init__(self, world: World, script: PlannedSession) -> None:
        self._world, self._heap = world, world.heap
        self._key = self.session_id = f"ses_{script.number}"
        """The id of its session, once it is acknowledged."""
        chances = world.chances_of(self._key)
        self._types = TYPES[: chances.choice((1, 2, 2, 3))]
        self._stays = chances.uniform(5.0, 30.0)
        draw = chances.random()
        self._never_joins, self._deletes, self._rejoins = draw < 0.03, 0.03 <= draw < 0.35, 0.35 <= draw < 0.45
        self._asks_again_after = chances.uniform(1.0, 1.3 * self._stays) if chances.random() < 0.4 else None
        is_impatient = world.history.chances("patience", self._key).random() < IMPATIENT
        self._patience = IMPATIENT_WITHIN if is_impatient else ANSWERED_WITHIN
        self._user = f"user-{script.number}"
        self._tries, self._sent = 0, 0
        self._info: ParticipantInfo | None = None
        self._has_joined = False

    @property
    def truth(self) -> SessionTruth:
        return self._world.judge.sessions[self.session_id]

    def ask(self) -> None:
        """Ask for the session."""
        self._send(self._create)

    def _send(self, request: Request, pause: float = 0.0) -> None:
        """Send a request to some replica, and again to another if it is not answered."""
        if pause:
            self._heap.after(pause, self._send, request)
            return
        self._tries += 1
        if self._tries > TRIES_MAX:
            return
        replica = self._world.balanced()
        if replica is None:
            self._heap.after(1.0, self._send, request)
            return
        self._sent += 1
        patience = self._patience if request == self._create else ANSWERED_WITHIN
        self._heap.after(patience, self._expire, self._sent, request)
        chances = self._world.chances_of(self.session_id)
        self._heap.after(chances.uniform(0.001, 0.005), replica.call, request, replica, self._sent)

    def _expire(self, sent: int, request: Request) -> None:
        if sent == self._sent:
            self._send(request)

    def _is_answered(self, sent: int) -> bool:
        """Whether this is the answer that is waited for."""
        if sent != self._sent:
            return False
        self._sent += 1
        return True

    # --- the session ---

    def _create(self, replica: SimulatedReplica, sent: int) -> None:
        KeyedRequest(replica, self._key, self._wish, partial(self._created, sent)).begin()

    def _wish(self, replica: SimulatedReplica, session_id: str, excluded: set[str]) -> Session | None:
        """The session that is asked for, with the services that the replica chooses; None if it has none."""
        services = list[RequiredService]()
        for kind in self._types:
            instance = replica.chosen(kind, excluded)
            if instance is None:
                return None
            chosen = Chosen(instance.service_id, kind, instance.endpoint, None, instance.ready_on)
            services.append(RequiredService(Requirement(type=kind), Attempt(chosen)))
        now = self._heap.now
        return Session(
            session_id,
            f"room-{session_id}",
            User(self._user),
            now,
            tuple(services),
            limits=LIMITS,
            owner="caller",
            callback_url="https://caller.example/",
            state_since=now,
        )

    def _created(self, sent: int, reply: ClientReply, session_id: str) -> None:
        if not self._is_answered(sent):
            return
        if reply is ClientReply.DONE:
            self.session_id = session_id
            if self.truth.acknowledged_at is None:
                self.truth.acknowledged_at = self._heap.now
            self._tries = 0
            self._send(self._wait)
        elif reply is ClientReply.LATER:
            self._send(self._create, 1.0)

    def _wait(self, replica: SimulatedReplica, sent: int) -> None:
        RequestHandler(replica).token(self.session_id, partial(self._waited, sent))

    def _waited(self, sent: int, reply: ClientReply) -> None:
        if not self._is_answered(sent):
            return
        chances = self._world.chances_of(self.session_id)
        if reply is ClientReply.LATER:
            self._tries -= 1
            self._send(self._wait, 1.0)
        elif reply is ClientReply.UNKNOWN:
            self._world.judge.not_found(self.session_id)
        elif reply is ClientReply.DONE and not self._never_joins:
            self._tries = 0
            self._heap.after(chances.uniform(0.1, 1.5), self._join)

    # --- the user ---

    def _join(self) -> None:
        room = self._world.livekit.rooms.get(f"room-{self.session_id}")
        info = None if room is None else self._world.livekit.join(room, self._user, when_gone=self._gone)
        if info is None:
            if self.truth.end is None:
                self._send(self._wait, 2.0)
            return
        self._info, self.truth.user_here_since = info, self._heap.now
        self._heap.after(self._stays, self._leave, info)
        if not self._has_joined and self._asks_again_after is not None:
            self._heap.after(self._asks_again_after, self._ask_again)
        self._has_joined = True

    def _ask_again(self) -> None:
        """A token for another participant, maybe when the session is over."""
        replica = self._world.balanced()
        if replica is not None:
            replica.call(RequestHandler(replica).token, self.session_id, lambda reply: None)

    def _gone(self) -> None:
        self.truth.user_here_since, self.truth.user_left_at = None, self._heap.now

    def _leave(self, info: ParticipantInfo) -> None:
        if self.truth.user_here_since is None or self._info is not info:
            return
        if self._deletes:
            self.truth.is_closing = True
            self._tries = 0
            self._send(self._close)
            return
        room = self._world.livekit.rooms.get(f"room-{self.session_id}")
        if room is not None:
            self._world.livekit.leave(room, self._user, info.sid)
        if self._rejoins:
            self._rejoins = False
            self._heap.after(1.0, self._join)

    def _close(self, replica: SimulatedReplica, sent: int) -> None:
        RequestHandler(replica).close(self.session_id, partial(self._closed, sent))

    def _closed(self, sent: int, reply: ClientReply) -> None:
        if self._is_answered(sent) and reply is ClientReply.LATER:
            self._send(self._close, 1.0)
