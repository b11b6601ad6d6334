"""The part of a store that every store has alike: the sessions are in a mirror, and are read there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from manager_agent.session.counts import SessionCounts
from manager_agent.session.session import Session
from manager_agent.store.mirror import Mirror
from manager_agent.store.store import Listener


class MirroredStore:
    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    @property
    def counts(self) -> SessionCounts:
        return self._mirror.counts

    @property
    def waiters(self) -> int:
        return self._mirror.waiters

    @property
    def is_frozen(self) -> bool:
        return self._mirror.is_frozen

    def freeze(self) -> None:
        self._mirror.freeze()

    def listen(self, listener: Listener) -> None:
        self._mirror.listen(listener)

    def get(self, session_id: str) -> Session:
        return self._mirror.get(session_id)

    def in_room(self, room_name: str) -> Session | None:
        return self._mirror.in_room(room_name)

    def name_free_in(self, room_name: str, tenant: str) -> float:
        return self._mirror.name_free_in(room_name, tenant)

    def list(self) -> Iterator[Session]:
        return self._mirror.list()

    def newest(self, before: str | None = None) -> Iterator[Session]:
        return self._mirror.newest(before)

    def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Coroutine[Any, Any, Session]:
        return self._mirror.wait_for(session_id, wanted)  # thousands may wait: no coroutine around that one
