"""Stored responses over a restart, in each home of the records."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from http_api.errors import IdempotencyKeyReused
from http_api.limits.answer_records import AnswerRecords
from http_api.limits.idempotency_store import KEPT_FOR, OVERHEAD, IdempotencyScope, IdempotencyStore, StoredAnswer
from manager_agent.records.records import Kind, Records
from tests.unit.sessions import START
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

SECRET = "the secret of LiveKit, which is long enough"
SCOPE, PRINT = IdempotencyScope("acme", "sessions_create", "k"), b"\xff" * 32
ANSWER = StoredAnswer(201, (("ETag", '"2"'), ("Link", "a"), ("Link", "b")), '{"access_token":"t-o-k-e-n 名"}'.encode())


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def started(
    records: Records, clock: VirtualClock, *, secret: str = SECRET, size_max: int = 100_000
) -> IdempotencyStore:
    """The store of a process with these records."""
    store = IdempotencyStore(clock, size_max)
    await AnswerRecords(store, records, secret).start()
    return store


def answered(store: IdempotencyStore, scope: IdempotencyScope = SCOPE, answer: StoredAnswer = ANSWER) -> None:
    assert store.begin(scope, PRINT) is None
    store.finish(scope, answer)


async def test_next_process_gives_the_same_answer(records: Records, clock: VirtualClock) -> None:
    answered(await started(records, clock))
    await records.committed()
    again = await started(records, clock)
    assert again.begin(SCOPE, PRINT) == ANSWER
    with pytest.raises(IdempotencyKeyReused):
        again.begin(SCOPE, b"another")
    assert again.begin(IdempotencyScope("rival", "sessions_create", "k"), PRINT) is None


async def test_answers_of_a_process_that_went_on_are_taken_over_later(records: Records, clock: VirtualClock) -> None:
    """Those of a rolling update: both processes run, and the new one takes over."""
    first = await started(records, clock)
    answered(first)
    await records.committed()
    second = IdempotencyStore(clock, 100_000)
    kept = AnswerRecords(second, records, SECRET)
    await kept.start()
    size, later = second.size, IdempotencyScope("acme", "sessions_create", "later")
    answered(first, later)
    await records.committed()
    await kept.restore()
    assert second.begin(later, PRINT) == ANSWER
    assert second.size == 2 * size


async def test_records_show_neither_token_nor_key_of_an_answer(records: Records, clock: VirtualClock) -> None:
    answered(await started(records, clock), IdempotencyScope("acme", "sessions_create", "a-key-of-the-client"))
    await records.committed()
    (record,) = await records.load(Kind.ANSWER)
    assert not any(word in record.value for word in (b"t-o-k-e-n", b"a-key", b"acme", b"201"))
    assert "a-key" not in record.key


async def test_answers_of_another_secret_are_left_out_and_logged(records: Records, clock: VirtualClock) -> None:
    """Their tokens are invalid too."""
    answered(await started(records, clock))
    await records.committed()
    with capture_logs() as logs:
        again = await started(records, clock, secret="another secret, which is long enough")
    (entry,) = logs
    assert (entry["event"], entry["count"]) == ("records_unreadable", 1)
    assert "LIVEKIT_API_SECRET" in entry["why"]
    assert again.begin(SCOPE, PRINT) is None


async def test_restart_makes_no_answer_last_longer(records: Records, clock: VirtualClock) -> None:
    answered(await started(records, clock))
    await records.committed()
    clock.now = START + KEPT_FOR - 1
    assert (await started(records, clock)).begin(SCOPE, PRINT) == ANSWER
    again = await started(records, clock)
    clock.now = START + KEPT_FOR
    assert again.begin(SCOPE, PRINT) is None


async def test_forgotten_answer_leaves_the_records(records: Records, clock: VirtualClock) -> None:
    """For lack of space, here or in the next process, or because its time is over."""
    store = await started(records, clock, size_max=3 * (OVERHEAD + len(ANSWER.body)))
    scopes = [IdempotencyScope("acme", "sessions_create", str(n)) for n in range(4)]
    for scope in scopes:
        answered(store, scope)
    await records.committed()
    assert len(await records.load(Kind.ANSWER)) == 3
    again = await started(records, clock, size_max=2 * (OVERHEAD + len(ANSWER.body)))
    assert [again.begin(scope, PRINT) is None for scope in scopes] == [True, True, False, False]
    clock.now = START + KEPT_FOR
    assert again.begin(scopes[3], PRINT) is None
    await records.committed()
    assert await records.load(Kind.ANSWER) == []
