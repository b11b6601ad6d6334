"""Stored responses of several replicas: a repeated request gets the same one from each."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from http_api.limits.answer_records import AnswerRecords
from http_api.limits.idempotency_store import KEPT_FOR, OVERHEAD, IdempotencyScope, IdempotencyStore, StoredAnswer
from manager_agent.records.records import Kind
from tests.unit.shared_records import SharedPlace
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

PRINT, ANSWER = b"\xff" * 32, StoredAnswer(201, (), b"{}")
SIZE = OVERHEAD + len(ANSWER.body)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def place(clock: VirtualClock) -> SharedPlace:
    return SharedPlace(clock)


async def replica(place: SharedPlace, *, secret: str = "the secret", size_max: int = 10 * SIZE) -> IdempotencyStore:
    store = IdempotencyStore(place.clock, size_max)
    await AnswerRecords(store, place.replica(), secret).start()
    return store


def scope(key: object) -> IdempotencyScope:
    return IdempotencyScope("acme", "sessions_create", str(key))


def answered(store: IdempotencyStore, key: object) -> None:
    assert store.begin(scope(key), PRINT) is None
    store.finish(scope(key), ANSWER)


async def test_all_replicas_know_an_answer(place: SharedPlace) -> None:
    one, two = await replica(place), await replica(place)
    answered(one, "k")
    place.tell_all()
    for store in (two, await replica(place)):
        assert store.begin(scope("k"), PRINT) == ANSWER
        assert store.size == SIZE


async def test_answers_of_all_replicas_share_one_bound_and_are_forgotten_by_all(place: SharedPlace) -> None:
    stores = [await replica(place, size_max=3 * SIZE) for _ in range(2)]
    for number in range(6):
        answered(stores[number % 2], number)
        place.tell_all()
    assert [store.size for store in stores] == [3 * SIZE] * 2
    assert len(place.records) == 3
    for store in stores:
        assert [store.kept(scope(number)) is not None for number in range(6)] == [False] * 3 + [True] * 3


async def test_answer_is_forgotten_by_all_when_its_time_is_over(place: SharedPlace, clock: VirtualClock) -> None:
    stores = [await replica(place) for _ in range(2)]
    answered(stores[0], "k")
    place.tell_all()
    clock.now += KEPT_FOR
    assert [store.begin(scope("k"), PRINT) for store in stores] == [None, None]


async def test_lost_answers_are_put_back_and_forgotten_ones_are_dropped(place: SharedPlace) -> None:
    one, two = await replica(place), await replica(place)
    answered(one, "k")
    answered(two, "l")
    place.tell_all()
    place.lose_all()
    for records in place.replicas:
        await records.read_anew(are_lost=True)
    assert len(place.records) == 2
    place.tell_all()
    place.records.pop(next(place_of for place_of in place.records if place_of[0] is Kind.ANSWER))
    for records in place.replicas:
        await records.read_anew(are_lost=False)
    assert (one.size, two.size) == (SIZE, SIZE)
    assert one.kept(scope("k")) == two.kept(scope("k"))


async def test_answers_of_a_replica_with_another_secret_are_left_out(place: SharedPlace) -> None:
    """As during a rolling change of the secret. What it forgets is not deleted: it does not know it."""
    one, other = await replica(place), await replica(place, secret="another secret")
    with capture_logs() as logs:
        answered(one, "k")
        place.tell_all()
    assert [entry["event"] for entry in logs] == ["records_unreadable"]
    assert other.size == 0
    for records in place.replicas:
        await records.read_anew(are_lost=True)
    assert len(place.records) == 1
