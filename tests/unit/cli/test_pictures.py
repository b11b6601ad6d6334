"""The drawings of `session-manager watch` and `timeline`: bars in proportion to time, overviews that fit the
terminal."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from http_api.cli.one_session import may_change_unannounced
from http_api.cli.overview import SHOWN, Overview
from http_api.cli.services import registered_table
from http_api.cli.timeline_bars import (
    BAR_LEAST,
    BAR_MAX,
    BROKEN,
    Drawing,
    bar,
    format_elapsed,
    layout,
    remark,
    scale_of,
)
from http_api.models.responses import ServiceView, SessionView
from http_api.models.timeline import TimelineView
from manager_agent.frozen import replace
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.selection import InstanceStatus
from manager_agent.registry.services import RegisteredService
from manager_agent.session import events as ev
from manager_agent.session.events import Chosen, Event, ReadyOn, Refusal, Signal
from manager_agent.session.session import Session
from session_manager_client.models import (
    CallerInfo,
    DependencyInfo,
    FeedHealth,
    FeedSnapshot,
    ForgottenSession,
    RemovedService,
    ServiceInfo,
    SessionInfo,
    TimelineInfo,
)
from tests.unit import sessions as given
from tests.unit.session_manager_client.received import received
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

OTHER = Chosen("asr-2", "ASR", "http://asr-2.example/", None, ReadyOn.JOIN)
REPLACED: list[Event] = [
    *given.created(), *given.invited(ASR, LLM, at=START + 1), *given.accepted(LLM, at=START + 2),
    ev.InviteRefused(START + 4, ASR, 1, 1, Refusal.UNREACHABLE, final=True),
    ev.InviteStarted(START + 4, ASR, 2, 1, "sm-asr-2", "inv_2", instead=OTHER), ev.InviteAccepted(START + 5, ASR, 2, 1),
    given.seen("sm-llm-1", "PA_1", START + 5), given.seen("sm-asr-2", "PA_2", START + 7),
]  # fmt: skip
"""The first instance can't be reached and the second one is ready; the other service is not ready yet."""


def told_of(session: Session, at: float) -> TimelineInfo:
    return received(TimelineView.of(session, START + at, None), TimelineInfo)


def now_of(timeline: TimelineInfo) -> datetime:
    return datetime.fromisoformat(timeline.now)


def bars(timeline: TimelineInfo, cells: int) -> list[str]:
    """Each bar with a digit for each cell: 0 nothing, 1 to 4 a phase, 5 the end of a failed attempt."""
    scale = scale_of(timeline, now_of(timeline), cells)
    return ["".join(map(str, bar(attempt, scale))) for attempt in timeline.attempts]


def test_timeline_bars_are_in_proportion_to_time_and_attempts_join() -> None:
    timeline = told_of(given.after(given.a_session(given.JOINS, given.SIGNALS), *REPLACED), 10)
    assert bars(timeline, 10) == ["1115000000", "0001224444", "1222333333"]
    assert bars(timeline, 5) == ["15000", "01244", "22333"]


def test_timeline_bars_end_now_while_waiting_and_else_at_readiness() -> None:
    """However long ago that was."""
    session = given.after(given.a_session(given.JOINS, given.SIGNALS), *REPLACED)
    for at in (10, 20):
        timeline = told_of(session, at)
        assert scale_of(timeline, now_of(timeline), 10).seconds == at
    timeline = told_of(given.after(session, given.signal("sm-llm-1", Signal.READY, START + 12)), 3_600)
    assert scale_of(timeline, now_of(timeline), 10).seconds == 12


def test_a_later_loss_extends_the_timeline_bars() -> None:
    session = given.after(
        given.a_session(given.JOINS), *given.created(), *given.invited(ASR), given.seen("sm-asr-1", "PA", START + 1)
    )
    timeline = told_of(given.after(session, given.left("sm-asr-1", "PA", START + 100)), 101)
    assert bars(timeline, 10) == ["444444444" + str(BROKEN)]


@pytest.mark.parametrize("cells", [1, 7, 80])
def test_every_attempt_is_visible_in_the_timeline_however_short(cells: int) -> None:
    at_once = ev.InviteStarted(START, ASR, 2, 1, "sm-asr-2", "inv_2", instead=OTHER)
    refused = ev.InviteRefused(START, ASR, 1, 1, Refusal.DECLINED)
    timeline = told_of(
        given.after(given.a_session(given.JOINS), *given.created(), *given.invited(ASR), refused, at_once), 0
    )
    assert all(shown.strip("0") for shown in bars(timeline, cells))


def test_each_timeline_bar_is_followed_by_its_reason() -> None:
    timeline = told_of(given.after(given.a_session(given.JOINS, given.SIGNALS), *REPLACED), 10)
    assert [remark(attempt, now_of(timeline)) for attempt in timeline.attempts] == [
        "unreachable, replaced", "ready by join", "expected to be ready within 20 s",
    ]  # fmt: skip
    late = remark(timeline.attempts[-1], now_of(timeline) + timedelta(seconds=23))
    assert late == "expected to be ready, late by 3 s"
    optional = told_of(
        given.after(given.a_session(given.made_optional(given.SIGNALS)), *given.created(), *given.invited(ASR)), 1
    )
    assert remark(optional.attempts[0], now_of(optional)) == "expected to accept"


def test_the_timeline_shows_when_a_refused_invite_is_repeated() -> None:
    refused = ev.InviteRefused(START + 4, ASR, 1, 1, Refusal.UNREACHABLE)
    session = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(ASR), refused)
    timeline = told_of(session, session.services[ASR].current.retry_at - START - 1)
    signal = remark(timeline.attempts[0], now_of(timeline))
    assert signal.startswith("unreachable, expected to accept within ")
    assert signal.endswith(", invited again in 1 s")


def test_a_timeline_is_refreshed_while_the_manager_or_a_service_is_awaited() -> None:
    session = given.a_session(given.JOINS)
    may = [may_change_unannounced(told_of(session, 0))]
    for events in (
        [*given.created(), *given.invited(ASR), *given.accepted(ASR), given.seen("sm-asr-1", "PA", START + 1)],
        given.managed(),
        [given.left("sm-asr-1", "PA", START + 2), ev.InviteStarted(START + 3, ASR, 2, 1, "sm-asr-2", "inv_2")],
        [ev.SessionClosed(START + 4)],
    ):
        session = given.after(session, *events)
        may.append(may_change_unannounced(told_of(session, 5)))
    assert may == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 ms"), (0.8041, "804 ms"), (12.34, "12.3 s"), (300, "5 min"), (7_300, "2 h")]
)
def test_durations_are_shown_in_short_form(seconds: float, words: str) -> None:
    assert format_elapsed(seconds) == words


@pytest.mark.parametrize(("width", "is_beside"), [(120, True), (80, False), (60, False), (40, False)])
def test_no_timeline_bar_is_wrapped_in_a_narrow_terminal(width: int, is_beside: bool) -> None:
    """Remarks stand beside it, or below."""
    timeline, out = told_of(given.after(given.a_session(given.JOINS, given.SIGNALS), *REPLACED), 10), io.StringIO()
    Console(file=out, width=width).print(Drawing(timeline))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    bars = [line for line in lines if set(line) & set("░▒▓█")]
    assert len(bars) == len(timeline.attempts)
    for line, attempt in zip(bars, timeline.attempts, strict=True):
        words = remark(attempt, now_of(timeline))
        assert line.endswith(f"  {words}") if is_beside else f"  {words}" in lines


def test_a_timeline_bar_fills_the_width_left_by_the_other_columns() -> None:
    assert layout(120, [10, 7, 8], 30) == (120 - 25 - 6 - 2 - 30, True)
    assert layout(400, [10, 7, 8], 30) == (BAR_MAX, True)
    assert layout(80, [10, 7, 8], 30) == (80 - 25 - 6, False)
    assert layout(20, [10, 7, 8], 30) == (BAR_LEAST, False)


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "█"), ("ascii", "#")])
def test_a_terminal_without_block_characters_gets_letters(encoding: str, mark: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=out, width=120).print(
        Drawing(told_of(given.after(given.a_session(given.JOINS, given.SIGNALS), *REPLACED), 10))
    )
    out.flush()
    shown = out.buffer.getvalue().decode(encoding)
    assert mark in shown
    assert "room_created 0 ms" in shown


# --- everything -------------------------------------------------------------------------------------


def view(number: int, *events: Event) -> SessionInfo:
    session = given.after(replace(given.a_session(), session_id=f"ses_{number:03}"), *events)
    return received(SessionView.of(session), SessionInfo)


def health(state: str, detail: str | None) -> FeedHealth:
    found = DependencyInfo(name="livekit", state=state, since="2026-01-01T00:00:00.000Z", detail=detail)
    return FeedHealth(dependencies=[found], time="2026-01-01T00:00:01.000Z", version="1")


def registered(
    service_id: str, load: float | None = None, endpoint: str | None = "http://asr-00.example/"
) -> ServiceInfo:
    instance = Instance(RegisteredService(service_id, "ASR", endpoint), load=load)
    return received(ServiceView.of(InstanceStatus(instance, InstanceState.HEALTHY, 0)), ServiceInfo)


def snapshot(*sessions: SessionInfo) -> FeedSnapshot:
    principal = CallerInfo(name="dev", scopes=[])
    is_up = health("up", None)
    return FeedSnapshot(sessions=list(sessions), services=[], health=is_up, profiles=[], caller=principal)


def test_an_overview_applies_feed_events_and_returns_the_changed_sessions() -> None:
    overview, (one, two, three) = Overview(), (view(n) for n in (1, 2, 3))
    assert overview.take(snapshot(two, one)) == [one, two]
    changed = view(1, ev.SessionClosed(START))
    assert overview.take(changed) == [changed]
    assert overview.take(ForgottenSession(session_id=two.session_id)) == []
    assert overview.newest() == [changed]
    assert overview.take(snapshot(three, changed)) == [three]


def test_an_overview_keeps_the_last_state_of_each_service_until_it_is_gone() -> None:
    overview = Overview()
    overview.take(snapshot().model_copy(update={"services": [registered("tts"), registered("asr")]}))
    assert overview.take(registered("tts", load=0.5)) == []
    overview.take(registered("vad"))
    overview.take(RemovedService(service_id="asr"))
    overview.take(RemovedService(service_id="nobody"))
    assert {service_id: service.load for service_id, service in overview.services.items()} == {"tts": 0.5, "vad": None}
    overview.take(snapshot())
    assert overview.services == {}


def test_an_overview_shows_the_newest_sessions_of_a_snapshot() -> None:
    overview, sessions = Overview(), [view(number) for number in range(SHOWN + 20)]
    assert overview.take(snapshot(*reversed(sessions))) == sessions[-SHOWN:]
    assert overview.newest() == sessions[: -SHOWN - 1 : -1]


def test_after_a_reconnect_every_changed_session_is_shown_however_old() -> None:
    overview, sessions = Overview(), [view(number) for number in range(SHOWN + 20)]
    overview.take(snapshot(*reversed(sessions)))
    changed, new = view(0, ev.SessionClosed(START)), [view(1_000 + number) for number in range(2 * SHOWN)]
    assert overview.take(snapshot(*reversed(new), *reversed(sessions[1:]), changed)) == [changed, *new]


@pytest.mark.parametrize("width", [150, 60])
@pytest.mark.parametrize(("sessions", "services"), [(1, 30), (60, 30), (60, 0), (3, 2), (0, 30), (0, 0)])
@pytest.mark.parametrize("height", [8, 24])
def test_an_overview_is_no_higher_than_the_terminal(sessions: int, services: int, height: int, width: int) -> None:
    """Absent services come first, then the newest sessions, then services. The rest is counted."""
    overview = Overview()
    told = snapshot(*(view(number) for number in reversed(range(sessions))))
    overview.take(told.model_copy(update={"services": [registered(f"asr-{number:02}") for number in range(services)]}))
    overview.take(health("away", "it does not answer"))
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(overview)
    lines = out.getvalue().splitlines()
    assert len(lines) < height
    assert lines[0].startswith("livekit has been unavailable since ")
    assert not sessions or any(f"ses_{sessions - 1:03}" in line for line in lines)
    if height < 24:
        return  # there is no room to tell of the services as well
    left_out = [int(line[1:].removesuffix(" more")) for line in lines if line.startswith("+")]
    shown = [sum(line.startswith(name) for line in lines) for name in ("ses_", "asr-")]
    assert sum(shown) + sum(left_out) == min(sessions, SHOWN) + services


def test_services_fill_the_rows_that_few_sessions_leave() -> None:
    overview, out = Overview(), io.StringIO()
    many = [registered(f"asr-{number:02}") for number in range(30)]
    overview.take(snapshot(view(1)).model_copy(update={"services": many}))
    Console(file=out, width=150, height=24).print(overview)
    lines = out.getvalue().splitlines()
    assert (len(lines), lines[-1]) == (23, "+12 more")
    assert lines[1].startswith("ses_001")


def test_the_endpoint_of_another_callers_service_is_a_dash() -> None:
    out = io.StringIO()
    Console(file=out, width=150).print(registered_table([registered("asr-1", endpoint=None)]))
    assert out.getvalue().splitlines()[1].split()[-1] == "-"


def test_an_overview_shows_what_is_unavailable_until_it_is_back() -> None:
    overview = Overview()
    assert overview.unavailable() == []
    overview.take(health("away", "it does not answer"))
    assert overview.unavailable() == ["livekit has been unavailable since 2026-01-01T00:00:00.000Z: it does not answer"]
    overview.take(health("refuses_writes", "out of memory"))
    assert overview.unavailable() == ["livekit has refused writes since 2026-01-01T00:00:00.000Z: out of memory"]
    overview.take(snapshot())
    assert overview.unavailable() == []
