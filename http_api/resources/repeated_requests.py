"""Sessions with a generated room name, found again by a repeated request: those that clients wait for, those whose
clients all went away without a token, and those whose clients waited for an earlier process.

With several replicas the first request may have come to another one. That one ends the session if its clients go away,
unless a client here has taken it up by then: shared_requests.py has who was first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from http_api.errors import Unready
from http_api.limits.key_marks import RequestMark
from http_api.resources.shared_requests import SharedRequests
from http_api.stopping import Stopping
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.not_acting import NotActing
from manager_agent.redis.connection import RedisAway
from manager_agent.session.session import Session, SessionState
from manager_agent.store.recording import NotRecorded
from manager_agent.store.store import Change, Store, UnknownSession
from manager_agent.tasks import Tasks

KEPT = 10.0
"""Seconds for which such a session is kept. HTTP clients give up after a time of their own (OkHttp, on Android, after
10 s), and then ask again."""


@dataclass(frozen=True, slots=True)
class RepeatedRequests:
    store: Store
    orchestrator: Orchestrator
    tasks: Tasks
    stopping: Stopping
    shared: SharedRequests | None = None
    """None: there are no other replicas."""
    _kept: dict[RequestMark, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The abandoned sessions, by the request that opened them."""
    _awaited: dict[RequestMark, str] = field(default_factory=dict)
    """The latest session that clients wait for, by their request."""
    _clients: Counter[str] = field(default_factory=Counter)
    """The number of clients that wait for each session."""
    _given: set[str] = field(default_factory=set)
    """Those of these sessions that one client has by now."""
    _left: dict[RequestMark, str] = field(default_factory=dict)
    """The sessions that an earlier process left waiting, by the request that opened them."""
    _elsewhere: dict[RequestMark, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """The waiting sessions that other replicas opened, each with its replica, by the request that opened them."""
    _borrowed: set[str] = field(default_factory=set)
    """Those of them whose first client may still wait there: they are not ended here."""

    def tell(self, change: Change) -> None:
        """Listener of the store."""
        if change.session.over:
            self._borrowed.discard(change.session_id)
        if change.before is not None and not self._left and not self._elsewhere:
            return  # only a session that is new here is added to them
        mark, state = RequestMark.of_session(change.session_id), change.session.state
        was_ready = change.session.waiting_again_since is not None
        if change.is_restored and state is SessionState.WAITING and not was_ready:  # so that no token was given
            self._left[mark] = change.session_id
        elif state not in (SessionState.WAITING, SessionState.READY) and self._left.get(mark) == change.session_id:
            del self._left[mark]
        if self.shared is not None and change.is_remote and change.before is None and state is SessionState.WAITING:
            self._elsewhere[mark][change.session_id] = self.shared.owner_of(change.session_id)
        elif state not in (SessionState.WAITING, SessionState.READY) or change.after is None:
            self._forget_elsewhere(mark, change.session_id)

    @contextmanager
    def client_of(self, session_id: str, request: RequestMark | None) -> Iterator[None]:
        """Inside, a client waits for the session, up to the token. When the last one has disconnected, or was told to
        ask again, and none has the session, keep it for the next client with the same request, or end it at once if
        there is no request or the process stops."""
        self._clients[session_id] += 1
        if request is not None:
            self._awaited[request] = session_id
        try:
            yield
            self._given.add(session_id)
        except (asyncio.CancelledError, Unready, NotRecorded, NotActing, RedisAway) as error:
            is_wanted = self._clients[session_id] > 1 or session_id in self._given
            if not is_wanted and not self.store.is_frozen:
                client_gone = isinstance(error, asyncio.CancelledError)
                self.tasks.spawn(self._end(session_id, request, client_gone), name=f"{session_id} give up")
            raise
        finally:
            self._clients[session_id] -= 1
            if not self._clients[session_id]:
                del self._clients[session_id]
                self._given.discard(session_id)
                if request is not None and self._awaited.get(request) == session_id:
                    del self._awaited[request]

    def awaited(self, request: RequestMark) -> Session | None:
        """The session that clients with the same request wait for."""
        session_id = self._awaited.get(request)
        return None if session_id is None else self._alive(session_id)

    async def take_abandoned(self, request: RequestMark) -> Session | None:
        """A session that an earlier client with the same request abandoned, if any is alive. Raises RedisAway."""
        while kept := self._kept.get(request):
            session_id = kept[0]
            self._forget(session_id, request)
            if self._alive(session_id) is None:
                continue
            if (self.shared is None or await self.shared.take(session_id)) and (alive := self._alive(session_id)):
                return alive
        return None

    async def take_elsewhere(self, request: RequestMark, *, is_of_one_user: bool) -> Session | None:
        """A session that another replica opened for the same request, and that its client abandoned, or its replica has
        died. If all such requests are `is_of_one_user`, also one that its client may still wait for. Raises
        RedisAway."""
        for session_id, replica in list(self._elsewhere.get(request, {}).items()):
            if self.shared is None or self._alive(session_id) is None:
                continue
            is_left = not self.shared.is_alive(replica)
            if not await self.shared.take(session_id, only_abandoned=not (is_left or is_of_one_user)):
                continue
            if (session := self._alive(session_id)) is not None:
                self._forget_elsewhere(request, session_id)
                if not is_left:
                    self._borrowed.add(session_id)
                return session
        return None

    def take_left(self, request: RequestMark) -> Session | None:
        """A session that an earlier process opened for the same request, and of which it gave no token."""
        session_id = self._left.pop(request, None)
        return None if session_id is None else self._alive(session_id)

    def _alive(self, session_id: str) -> Session | None:
        """The session, unless it is over or unknown by now."""
        try:
            session = self.store.get(session_id)
        except UnknownSession:
            return None
        return None if session.over else session

    async def _end(self, session_id: str, request: RequestMark | None, client_gone: bool) -> None:
        if session_id in self._borrowed:
            self._borrowed.discard(session_id)
            return
        if request is not None:
            self._kept[request].append(session_id)
            if self.shared is not None:
                await self.shared.abandon(session_id)
            with suppress(TimeoutError):
                async with asyncio.timeout(KEPT):
                    await self.stopping.begun()
            if not self._forget(session_id, request):
                return
            if self.shared is not None and not await self.shared.may_end(session_id):
                return
        try:
            await self.orchestrator.close(session_id, client_gone=client_gone)
        except (UnknownSession, NotActing, RedisAway):
            return  # refused at the same moment, or another process has it now; its deadlines end it

    def _forget_elsewhere(self, request: RequestMark, session_id: str) -> None:
        if session_id in (known := self._elsewhere.get(request, {})):
            del known[session_id]
            if not known:
                del self._elsewhere[request]

    def _forget(self, session_id: str, request: RequestMark) -> bool:
        """Keep the session no longer. Returns whether it was kept."""
        kept = self._kept.get(request, [])
        if session_id not in kept:
            return False
        kept.remove(session_id)
        if not kept:
            del self._kept[request]
        return True
