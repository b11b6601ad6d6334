"""Records of a process whose wall clock was another: nothing expires early, and nothing is kept too long.

The wall clock of the machine jumps by an hour between two processes, or was wrong when the first one was started.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from http_api.limits.answer_records import AnswerRecords
from http_api.limits.idempotency_store import KEPT_FOR, IdempotencyScope, IdempotencyStore, StoredAnswer
from manager_agent.clock_origin import ClockOrigin
from manager_agent.control.ended_records import VALUES, EndedSession
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.records.records import Kind
from manager_agent.records.sqlite import SWEEP_INTERVAL, SqliteRecords
from manager_agent.records.sqlite_file import FILE
from manager_agent.session import events as ev
from manager_agent.session.plan import plan
from manager_agent.shifted_instants import shifted
from manager_agent.store.room_names import LEEWAY, RoomNames
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

HOUR = 3_600.0
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR])


@dataclass
class ClockedProcess:
    """A process that was started with the wall clock off by so many seconds."""

    truth: VirtualClock
    wrong_by: float = 0.0
    machine: str = "this machine"

    def __post_init__(self) -> None:
        self.livekit_clock = LiveKitClock(self.clock)
        self.livekit_clock.ahead = -self.wrong_by
        """As it has learned it."""

    def clock(self) -> float:
        return self.truth() + self.wrong_by

    @property
    def origin(self) -> ClockOrigin:
        return ClockOrigin(self.machine, 1_000.0 + self.wrong_by)

    async def records(self, directory: Path) -> SqliteRecords:
        records = SqliteRecords(directory, self.clock, self.origin)
        await records.start()
        return records


@pytest.fixture
def truth() -> VirtualClock:
    return VirtualClock()


@JUMPS
async def test_record_expires_when_it_was_to_expire(jump: float, truth: VirtualClock, tmp_path: Path) -> None:
    """Not at the start of the next process either, which removes what has expired."""
    first = await ClockedProcess(truth).records(tmp_path)
    first.put(Kind.ANSWER, "a", b"", START + 2 * SWEEP_INTERVAL)
    first.put(Kind.ANSWER, "b", b"")
    await first.aclose()
    second = await ClockedProcess(truth, jump).records(tmp_path)
    a, b = await second.load(Kind.ANSWER)
    assert (a.expires_at, a.ahead) == (START + jump + 2 * SWEEP_INTERVAL, jump)
    assert (b.expires_at, b.ahead) == (None, jump)
    truth.now += 2 * SWEEP_INTERVAL - 1
    assert [record.key for record in await second.load(Kind.ANSWER)] == ["a", "b"]
    truth.now += 1
    assert [record.key for record in await second.load(Kind.ANSWER)] == ["b"]
    truth.now += SWEEP_INTERVAL
    second.put(Kind.ANSWER, "c", b"")
    await second.aclose()
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        assert file.execute("SELECT key FROM record ORDER BY place").fetchall() == [("b",), ("c",)]


@JUMPS
async def test_two_processes_with_different_clocks_share_one_file(
    jump: float, truth: VirtualClock, tmp_path: Path
) -> None:
    """As during a rolling update. A record that is put again has the clock of the process that did."""
    first, second = await ClockedProcess(truth).records(tmp_path), await ClockedProcess(truth, jump).records(tmp_path)
    for records, now in ((first, START), (second, START + jump), (first, START)):
        records.put(Kind.ANSWER, "a", b"", now + 10)
        await records.committed()
        for reader, ahead in ((first, 0.0), (second, jump)):
            (record,) = await reader.load(Kind.ANSWER)
            assert record.expires_at == START + ahead + 10
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize("machine", ["another machine", ""])
async def test_records_of_another_machine_are_taken_as_they_are(
    machine: str, truth: VirtualClock, tmp_path: Path
) -> None:
    """And those of this one from before it was started again."""
    first = await ClockedProcess(truth, machine=machine).records(tmp_path)
    first.put(Kind.ANSWER, "a", b"", START + 10)
    await first.aclose()
    second = await ClockedProcess(truth, 5.0, machine="" if not machine else "this machine").records(tmp_path)
    (record,) = await second.load(Kind.ANSWER)
    assert (record.expires_at, record.ahead) == (START + 10, None)
    await second.aclose()


@JUMPS
async def test_kept_answer_is_given_until_its_time_is_over(jump: float, truth: VirtualClock, tmp_path: Path) -> None:
    scope, answer = IdempotencyScope("acme", "sessions_create", "k"), StoredAnswer(201, (), b"{}")
    first = ClockedProcess(truth)
    records = await first.records(tmp_path)
    answers = IdempotencyStore(first.clock)
    await AnswerRecords(answers, records, "secret").start()
    answers.begin(scope, b"1")
    answers.finish(scope, answer)
    await records.aclose()
    second = ClockedProcess(truth, jump)
    records = await second.records(tmp_path)
    answers = IdempotencyStore(second.clock)
    await AnswerRecords(answers, records, "secret").start()
    truth.now += KEPT_FOR - 1
    assert answers.begin(scope, b"1") == answer
    truth.now += 1
    assert answers.begin(scope, b"1") is None
    await records.aclose()


@JUMPS
async def test_ended_session_is_forgotten_when_it_was_to_be(jump: float, truth: VirtualClock, tmp_path: Path) -> None:
    session = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(0), ev.SessionClosed(START))
    session = given.after(session, ev.CleanUpStarted(START), ev.CleanedUp(START + 1))
    records = await ClockedProcess(truth).records(tmp_path)
    records.put(Kind.ENDED_SESSION, "s1", VALUES.write(EndedSession(session)))
    await records.aclose()
    records = await ClockedProcess(truth, jump).records(tmp_path)
    restored = VALUES.read(await records.load(Kind.ENDED_SESSION))["s1"].session
    await records.aclose()
    assert restored.end is not None
    assert (restored.end.at, restored.end.cleaned_at) == (START + jump, START + jump + 1)
    assert restored.services[0].timeline.invited == (session.services[0].timeline.invited or 0) + jump
    assert restored.limits == session.limits
    assert plan(restored, START + jump).wake_at == plan(session, START).wake_at + jump
    assert shifted(EndedSession(restored), -jump, except_in=(type(session.limits),)) == EndedSession(session)


@pytest.mark.parametrize("is_wrong_first", [False, True])
@JUMPS
async def test_room_name_stays_reserved_until_its_last_token_expires(
    jump: float, is_wrong_first: bool, truth: VirtualClock, tmp_path: Path
) -> None:
    """By LiveKit's time, which the next process knows from the first one before LiveKit tells it."""
    first = ClockedProcess(truth, jump if is_wrong_first else 0.0)
    records = await first.records(tmp_path)
    names = RoomNames(records, first.livekit_clock, clock=first.clock)
    names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    await records.aclose()
    second = ClockedProcess(truth, 0.0 if is_wrong_first else jump)
    second.livekit_clock.ahead = 0.0
    records = await second.records(tmp_path)
    expect = second.livekit_clock.expect_ahead
    names = RoomNames(records, second.livekit_clock, clock=second.clock, expect_livekit_ahead=expect)
    await names.start()
    assert (names.count, names.reserved_for("demo", "rival")) == (1, 180 + LEEWAY)
    truth.now += 180 + LEEWAY - 1
    assert names.is_reserved("demo")
    truth.now += 1
    assert (names.count, names.reserved_for("demo", "rival")) == (0, 0)
    await records.aclose()
