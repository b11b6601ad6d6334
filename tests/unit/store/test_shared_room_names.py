"""Room names that the tokens of several replicas reserve."""

from __future__ import annotations

import random

import pytest

from manager_agent.records.records import Kind, RecordStats
from manager_agent.store.room_names import LEEWAY, RoomNames
from tests.unit.sessions import START
from tests.unit.shared_records import ReplicaRecords, SharedPlace
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def place(clock: VirtualClock) -> SharedPlace:
    return SharedPlace(clock)


def replica(place: SharedPlace, clock: VirtualClock, ahead: float = 0.0) -> RoomNames:
    return RoomNames(place.replica(), lambda: clock() + ahead)


async def fresh(place: SharedPlace, clock: VirtualClock) -> RoomNames:
    """A replica that has read the records."""
    names = replica(place, clock)
    await names.start()
    return names


async def test_a_name_that_a_token_of_another_replica_opens_is_reserved(
    place: SharedPlace, clock: VirtualClock
) -> None:
    here, there = replica(place, clock), replica(place, clock)
    there.issued("demo", "s1", "acme", START + 180, is_recognized=False)
    place.tell_all()
    for names in (here, await fresh(place, clock)):
        assert names.reserved_for("demo", "rival") == names.reserved_for("demo", "acme") == 180 + LEEWAY
        assert names.may_enter("demo", "s1")
        assert (names.count, names.count_of("acme")) == (1, 1)


async def test_the_last_token_of_a_session_counts_whichever_replica_gave_it_out(
    place: SharedPlace, clock: VirtualClock
) -> None:
    """Also when a record with less is written after one with more."""
    one, two = replica(place, clock), replica(place, clock)
    one.issued("demo", "s1", "acme", START + 300, is_recognized=True)
    two.issued("demo", "s1", "acme", START + 180, is_recognized=False)
    place.tell_all()
    for names in (one, two, await fresh(place, clock)):
        assert names.reserved_for("demo", "rival") == 300 + LEEWAY
        assert names.reserved_for("demo", "acme") == 180 + LEEWAY
        assert names.count == 1


@pytest.mark.parametrize("seed", range(10))
async def test_all_replicas_reserve_the_same_after_any_tokens_and_losses(seed: int) -> None:
    chance, clock = random.Random(seed), VirtualClock()
    place = SharedPlace(clock)
    replicas = [replica(place, clock) for _ in range(3)]
    for _ in range(100):
        clock.now += chance.choice([0, 0, 1, 30])
        number = chance.randrange(4)
        until = clock.now + chance.choice([100, 180, 300])
        names = chance.choice(replicas)
        names.issued(f"room-{number % 2}", f"s{number}", "acme", until, is_recognized=chance.random() < 0.8)
        if chance.random() < 0.5:
            place.tell_all()
        if chance.random() < 0.05:
            place.lose_all()
            for one in place.replicas:
                await one.read_anew(are_lost=True)
    place.tell_all()
    seen = [
        (names.reserved_for(room, owner), names.count, names.count_of("acme"))
        for room in ("room-0", "room-1")
        for owner in ("acme", "rival")
        for names in (*replicas, await fresh(place, clock))
    ]
    assert [set(seen[n : n + 4]) for n in range(0, 16, 4)] == [{seen[n]} for n in range(0, 16, 4)]


async def test_lost_reservations_are_put_back_once(place: SharedPlace, clock: VirtualClock) -> None:
    names = [replica(place, clock) for _ in range(2)]
    names[0].issued("demo", "s1", "acme", START + 180, is_recognized=True)
    names[0].issued("over", "s2", "acme", START + 1, is_recognized=True)
    place.tell_all()
    clock.now += 1 + LEEWAY
    place.lose_all()
    for one in place.replicas:
        await one.read_anew(are_lost=True)
    assert place.puts == 3
    assert (await fresh(place, clock)).count == 1


async def test_name_of_the_next_owner_is_counted_for_that_owner_also_if_clocks_differ(
    place: SharedPlace, clock: VirtualClock
) -> None:
    """By the clock of the second replica the reservation of the first owner has not ended yet."""
    here, behind = replica(place, clock), replica(place, clock, -5.0)
    here.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    place.tell_all()
    clock.now += 180 + LEEWAY
    here.issued("demo", "s2", "rival", clock.now + 180, is_recognized=True)
    place.tell_all()
    assert behind.reserved_for("demo", "rival") == 0
    assert behind.reserved_for("demo", "acme") == 185 + LEEWAY
    clock.now += 10
    assert (behind.count_of("acme"), behind.count_of("rival"), behind.count) == (0, 1, 1)


def test_token_is_recorded_only_if_it_reserves_more(place: SharedPlace, clock: VirtualClock) -> None:
    names, put = replica(place, clock), []
    for until, is_recognized in ((180, True), (180, True), (179, True), (181, True), (181, False), (180, False)):
        names.issued("demo", "s1", "acme", START + until, is_recognized=is_recognized)
        put.append(place.puts)
    assert put == [1, 1, 1, 2, 3, 3]


async def test_token_is_recorded_again_once_livekits_time_was_measured(place: SharedPlace, clock: VirtualClock) -> None:
    """It is valid for longer by the clock of the process, which removes records."""
    ahead = 0.0
    names = RoomNames(place.replica(), lambda: clock() + ahead, clock=clock)
    names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    ahead = -100.0
    names.issued("demo", "s1", "acme", START + 80, is_recognized=True)
    clock.now += 280 + LEEWAY - 1
    assert len(await place.replica().load(Kind.ROOM_NAME)) == 1


def test_token_is_recorded_again_after_changes_of_records_were_lost(
    place: SharedPlace, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = replica(place, clock)
    names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    monkeypatch.setattr(ReplicaRecords, "stats", RecordStats(lost=1))
    for _ in range(2):
        names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    assert place.puts == 2
