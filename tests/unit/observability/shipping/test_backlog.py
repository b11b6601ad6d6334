"""The backlog of log shipping: bounded, keeps the newest, and accounts for every record."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from http_api.observability.shipping.backlog import Backlog
from http_api.observability.shipping.batch import Batch, Bounds, Dropped
from http_api.observability.shipping.response_class import CollectorResponse
from http_api.observability.shipping.retry_policy import BatchOutcome, RetryPolicy
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

BOUNDS = Bounds(records=12, bytes=200, batch_records=5, batch_bytes=60, linger=1.0)


def lines(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def filled(*records: bytes, bounds: Bounds = BOUNDS, clock: VirtualClock | None = None) -> Backlog:
    backlog = Backlog(bounds, clock or VirtualClock())
    for record in records:
        backlog.put(record)
    return backlog


def taken(backlog: Backlog) -> Batch:
    batch = backlog.take()
    assert batch is not None
    return batch


def all_of(backlog: Backlog) -> list[bytes]:
    """Take out all that is left, and return it."""
    out: list[bytes] = []
    while batch := backlog.take():
        out += batch.lines
        backlog.arrived(batch)
    return out


def test_a_batch_is_due_a_second_after_its_first_record() -> None:
    clock = VirtualClock()
    backlog = filled(clock=clock)
    assert backlog.due_in() is None
    assert backlog.put(b"1")
    clock.now += 0.75
    assert not backlog.put(b"2")
    assert backlog.due_in() == 0.25
    clock.now += 9
    assert backlog.due_in() == 0
    assert taken(backlog).lines == (b"1", b"2")


@pytest.mark.parametrize(("record", "number"), [(b"x", 5), (b"x" * 20, 3)])
def test_a_full_batch_is_due_at_once(record: bytes, number: int) -> None:
    """Full by its records or by its bytes. The waiting shipper is told when a batch has become full, and only then."""
    backlog = filled()
    assert [backlog.put(record) for _ in range(number + 1)] == [True, *[False] * (number - 2), True, False]
    assert backlog.due_in() == 0
    assert len(taken(backlog)) == number


def test_records_added_while_a_batch_is_in_flight_form_the_next_batch() -> None:
    clock = VirtualClock()
    backlog = filled(*lines(1, 2), clock=clock)
    first = taken(backlog)
    backlog.put(b"3")
    clock.now += 5
    backlog.arrived(first)
    assert backlog.due_in() == 1.0
    assert taken(backlog).lines == (b"3",)


def test_a_batch_put_back_is_due_again_unchanged() -> None:
    backlog = filled(*lines(1, 2))
    first = taken(backlog)
    backlog.put(b"3")
    backlog.keep(first)
    assert backlog.due_in() == 0
    assert taken(backlog) == first


def test_a_full_backlog_drops_its_oldest_records_even_while_in_flight() -> None:
    backlog = filled(*lines(*range(12)))
    first = taken(backlog)
    for record in lines(12, 13):
        backlog.put(record)
    backlog.keep(first)
    assert backlog.stats().dropped[Dropped.OVERFLOW] == 2
    assert taken(backlog).lines == tuple(lines(2, 3, 4))


def test_records_evicted_in_flight_that_arrive_are_not_counted_as_dropped() -> None:
    backlog = filled(*lines(*range(12)))
    first = taken(backlog)
    for record in lines(12, 13):
        backlog.put(record)
    backlog.arrived(first)
    stats = backlog.stats()
    assert (stats.delivered, stats.dropped[Dropped.OVERFLOW], stats.queued_records) == (5, 0, 9)


def test_a_batch_evicted_as_a_whole_is_not_sent_again() -> None:
    backlog = filled(*lines(1, 2))
    first = taken(backlog)
    for record in lines(*range(10, 22)):
        backlog.put(record)
    backlog.keep(first)
    assert taken(backlog).lines == tuple(lines(*range(10, 15)))


def test_a_record_too_large_for_a_batch_is_dropped_and_evicts_nothing() -> None:
    backlog = filled(b"1", b"x" * 61)
    assert backlog.stats().dropped[Dropped.TOO_LARGE] == 1
    assert all_of(backlog) == [b"1"]


def test_records_rejected_from_an_accepted_batch_are_counted() -> None:
    backlog = filled(*lines(1, 2, 3))
    backlog.arrived(taken(backlog), rejected=2)
    stats = backlog.stats()
    assert (stats.delivered, stats.dropped[Dropped.REFUSED]) == (1, 2)


def test_a_closed_backlog_counts_what_is_left_and_takes_nothing() -> None:
    """Whatever becomes of a batch that was in flight."""
    backlog = filled(*lines(1, 2, 3))
    first = taken(backlog)
    assert backlog.close() == 3
    assert not backlog.put(b"4")
    backlog.halve(first)
    backlog.arrived(first)
    backlog.refused(first)
    stats = backlog.stats()
    assert (stats.delivered, stats.queued_records, stats.queued_bytes) == (0, 0, 0)
    assert {reason: number for reason, number in stats.dropped.items() if number} == {Dropped.AT_EXIT: 4}
    assert backlog.take() is None


def test_threads_can_add_records_while_another_thread_takes_batches() -> None:
    backlog, out = Backlog(Bounds(linger=0)), list[bytes]()

    def put(mine: int) -> None:
        for n in range(2_000):
            backlog.put(b"%d:%d" % (mine, n))

    threads = [threading.Thread(target=put, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if batch := backlog.take():
            out += batch.lines
            backlog.arrived(batch)
    out += all_of(backlog)
    assert sorted(out) == sorted(b"%d:%d" % (mine, n) for mine in range(4) for n in range(2_000))
    assert backlog.stats().delivered == 8_000


class Histories(RuleBasedStateMachine):
    """Any operations in any order: the backlog stays within bounds, in order, and accounts for every record."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(BOUNDS, VirtualClock())
        self.put = 0
        self.batch: Batch | None = None
        self.arrived: list[int] = []

    @rule(size=st.integers(3, 70))
    def put_one(self, size: int) -> None:
        self.put += 1
        self.backlog.put(str(self.put).rjust(size).encode())

    @precondition(lambda self: self.batch is None)
    @rule()
    def take(self) -> None:
        self.batch = self.backlog.take()
        if self.batch is not None:
            assert 0 < len(self.batch) <= BOUNDS.batch_records
            assert sum(map(len, self.batch.lines)) <= BOUNDS.batch_bytes
        else:
            assert self.backlog.stats().queued_records == 0

    @precondition(lambda self: self.batch is not None)
    @rule(outcome=st.sampled_from(["arrived", "keep", "halve", "refused"]))
    def settle(self, outcome: str) -> None:
        batch, self.batch = self.batch, None
        assert batch is not None
        if outcome == "arrived":
            self.arrived += map(int, batch.lines)
            self.backlog.arrived(batch)
        else:
            getattr(self.backlog, outcome)(batch)

    @invariant()
    def it_is_within_bounds(self) -> None:
        stats = self.backlog.stats()
        assert stats.queued_records <= BOUNDS.records
        assert stats.queued_bytes <= BOUNDS.bytes

    @invariant()
    def nothing_arrives_twice_or_out_of_order(self) -> None:
        assert self.arrived == sorted(set(self.arrived))

    @invariant()
    def every_record_is_accounted_for(self) -> None:
        """Except for records evicted in flight, whose outcome is not known yet."""
        stats = self.backlog.stats()
        known = stats.queued_records + stats.delivered + sum(stats.dropped.values())
        assert stats.delivered == len(self.arrived)
        assert known == self.put if self.batch is None else known <= self.put <= known + len(self.batch)

    def teardown(self) -> None:
        """The records that are left are the newest, in order."""
        if self.batch is not None:
            self.backlog.keep(self.batch)
        left = list(map(int, all_of(self.backlog)))
        assert left == sorted(left)
        assert not left or left[0] > max(self.arrived, default=0)


TestBacklogHistories = Histories.TestCase


@dataclass
class Picky:
    """Refuses a batch with anything bad in it, as Vector does."""

    bad: frozenset[bytes]
    taken: list[bytes] = field(default_factory=list)
    requests: int = 0

    def answer(self, batch: Batch) -> CollectorResponse:
        self.requests += 1
        if self.bad.intersection(batch.lines):
            return CollectorResponse.of(400)
        self.taken += batch.lines
        return CollectorResponse.of(200)


def shipped(backlog: Backlog, collector: Picky) -> None:
    """Ships all that is in the backlog, as the shipper does, without the pauses."""
    retry_policy = RetryPolicy("seed")
    while batch := backlog.take():
        retry_policy = retry_policy.after(collector.answer(batch), batch)
        match retry_policy.outcome:
            case BatchOutcome.ARRIVED:
                backlog.arrived(batch)
            case BatchOutcome.HALVED:
                backlog.halve(batch)
            case BatchOutcome.REFUSED:
                backlog.refused(batch)
            case _:
                raise AssertionError(retry_policy.outcome)


@given(number=st.integers(1, 500), data=st.data())
def test_bisection_delivers_every_good_record_once_and_isolates_bad_ones(number: int, data: st.DataObject) -> None:
    """k bad ones among n cost O(k log n) requests, and the order is kept."""
    bad = data.draw(st.sets(st.integers(0, number - 1), max_size=8))
    records = lines(*range(number))
    backlog, collector = filled(*records, bounds=Bounds()), Picky(frozenset(lines(*bad)))
    shipped(backlog, collector)
    assert collector.taken == [record for record in records if record not in collector.bad]
    stats = backlog.stats()
    assert (stats.delivered, stats.dropped[Dropped.REFUSED]) == (number - len(bad), len(bad))
    assert (stats.batches, stats.tries) == (1, collector.requests)
    assert collector.requests <= 1 + 2 * len(bad) * number.bit_length()


def test_the_backlog_keeps_the_newest_ten_thousand_records() -> None:
    backlog = filled(*lines(*range(25_000)), bounds=Bounds())
    assert all_of(backlog) == lines(*range(15_000, 25_000))
