"""What one session may cost, counted over its whole life: changes, log lines, calls to LiveKit, and tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from http_api.observability.logs.recent import RECENT_LOGS
from manager_agent.session import events as ev
from manager_agent.session.change_values import Revised
from manager_agent.store.store import Change
from tests.api.stand_ins import Api
from tests.waiting import eventually

pytestmark = pytest.mark.api

SERVICES = "asr", "llm", "tts"
EACH = len(SERVICES)
TOLD: dict[type[ev.Event] | None, int] = {
    None: 1,
    ev.ManagerDispatched: 1,
    ev.RoomCreated: 1,
    ev.InviteStarted: EACH,
    ev.InviteAccepted: EACH,
    ev.ServiceSignalled: EACH,
    ev.SessionClosed: 1,
    ev.CleanedUp: 1,
}
"""The changes that listeners make anything of, by their event. None: the session is new."""
LOGGED = {
    "session_opened": 1,
    "room_created": 1,
    "service_invited": EACH,
    "service_accepted": EACH,
    "service_ready": EACH,
    "session_state": 2,
    "session_cleaned_up": 1,
    "request": 1 + EACH + 1,
}
"""At level info: to be created, each service's signal, and to be closed."""
IDLE_TASKS = 2
"""Of a session: its control loop, and the writer of its room's metadata."""
SESSIONS = 20


async def a_life(api: Api) -> str:
    """A session whose services signal ready, and that is closed then. Returns its id."""
    await api.register(*SERVICES)
    _, _, session = await api.open(*SERVICES)
    session_id: str = session["session_id"]
    await api.until(session_id, lambda one: all(service.current.timeline.accepted for service in one.services))
    for service in SERVICES:
        assert (await api.say_ready(session_id, service))[0] == 200
    assert (await api.ask("DELETE", f"/sessions/{session_id}"))[0] == 200
    await api.until(session_id, lambda one: one.is_cleaned_up)
    return session_id


def counted(parts: Any, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The calls of these methods from now on."""
    calls: Counter[str] = Counter()

    def counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return method(*arguments, **options)

        return call

    for name in names:
        monkeypatch.setattr(parts, name, counting(name, getattr(parts, name)))
    return calls


async def test_listeners_are_told_once_of_each_step(api: Api) -> None:
    told: list[Change] = []
    api.parts.store.listen(told.append)
    await a_life(api)
    events = Counter(None if change.event is None else type(change.event) for change in told if change.parts)
    assert events.keys() <= TOLD.keys()
    assert all(count <= TOLD[event] for event, count in events.items())


async def test_a_session_logs_a_line_for_each_step_and_each_request(api: Api) -> None:
    session_id = await a_life(api)
    lines = [entry for entry in api.app[RECENT_LOGS].of(session_id) if entry["level"] != "debug"]
    assert Counter(entry["event"] for entry in lines) <= Counter(LOGGED)


async def test_livekit_is_asked_to_change_a_room_once_a_revision(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is two calls of LiveKit's API: a look, and the act."""
    acts = "create", "delete", "show_status", "dispatch_manager", "record_specification"
    calls = counted(api.parts.rooms, acts, monkeypatch)
    revisions: list[Revised] = []
    api.parts.store.listen(lambda change: revisions.extend(part for part in change.parts if isinstance(part, Revised)))
    await a_life(api)
    assert calls.pop("show_status", 0) <= len(revisions) <= 2 + 3 * EACH
    assert calls == {"create": 1, "delete": 1}


async def test_an_idle_session_has_two_tasks(api: Api) -> None:
    async def tasks() -> int:
        return len(asyncio.all_tasks())

    await api.open()
    before = await tasks()
    for _ in range(SESSIONS):
        assert (await api.open())[0] == 201
    spare = SESSIONS // 2  # whatever begins meanwhile, once
    await eventually("few tasks", tasks, lambda count: count <= before + IDLE_TASKS * SESSIONS + spare)
