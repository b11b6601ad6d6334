"""The shipper's retry policy: what an answer means, what becomes of the batch, the next pause, and what is logged."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_api.observability.shipping.batch import Batch, Dropped
from http_api.observability.shipping.failure_reporter import QUIET, FailureReporter, ReportKind
from http_api.observability.shipping.response_class import (
    LATER,
    RETRY_AFTER_MAX,
    UNREADABLE,
    CollectorResponse,
    ResponseClass,
    retry_after,
)
from http_api.observability.shipping.retry_policy import (
    PAUSE,
    PAUSE_MAX,
    REFUSALS_AT_ONCE,
    SLOW_PAUSE,
    SLOW_PAUSE_MAX,
    BatchOutcome,
    RetryPolicy,
)

pytestmark = pytest.mark.unit

ONE, MANY = Batch((b"1",), 1), Batch((b"1", b"2", b"3"), 3)
UNANSWERED = CollectorResponse(ResponseClass.UNANSWERED, "not connected")
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NONE_DROPPED = dict.fromkeys(Dropped, 0)


def after(*answers: CollectorResponse, batch: Batch = MANY) -> list[RetryPolicy]:
    policies, retry_policy = [], RetryPolicy("seed")
    for answer in answers:
        retry_policy = retry_policy.after(answer, batch)
        policies.append(retry_policy)
    return policies


@given(st.integers(200, 599))
def test_every_collector_status_has_a_response_class(status: int) -> None:
    response_class = CollectorResponse.of(status).response_class
    if status < 300:
        assert response_class is ResponseClass.TAKEN
    elif status in UNREADABLE:
        assert response_class is ResponseClass.REFUSED
    else:
        later = status in LATER or status >= 500
        assert response_class is (ResponseClass.LATER if later else ResponseClass.MISCONFIGURED)


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405, 415])
def test_a_misconfigured_collector_is_reported_at_once_and_tried_slowly(status: int) -> None:
    policies = after(*[CollectorResponse.of(status)] * 12)
    assert {retry_policy.outcome for retry_policy in policies} == {BatchOutcome.KEPT}
    assert all(retry_policy.is_failing for retry_policy in policies)
    assert SLOW_PAUSE / 2 <= policies[0].pause <= SLOW_PAUSE * 1.5
    assert SLOW_PAUSE_MAX / 2 <= policies[-1].pause <= SLOW_PAUSE_MAX * 1.5


def test_an_accepted_batch_is_followed_by_the_next_at_once() -> None:
    (retry_policy,) = after(CollectorResponse.of(204))
    assert (retry_policy.outcome, retry_policy.pause, retry_policy.is_failing) == (BatchOutcome.ARRIVED, 0, False)


@pytest.mark.parametrize("answer", [UNANSWERED, *map(CollectorResponse.of, (*sorted(LATER), 500, 502, 503))])
def test_an_absent_collector_is_tried_without_end_with_growing_pauses(answer: CollectorResponse) -> None:
    policies = after(*[answer] * 50)
    assert {retry_policy.outcome for retry_policy in policies} == {BatchOutcome.KEPT}
    assert PAUSE / 2 <= policies[0].pause <= PAUSE * 1.5
    assert all(PAUSE_MAX / 2 <= retry_policy.pause <= PAUSE_MAX * 1.5 for retry_policy in policies[10:])


def test_retries_of_several_processes_are_spread_in_time() -> None:
    pauses = {RetryPolicy(f"seed {number}").after(UNANSWERED, MANY).pause for number in range(10)}
    assert len(pauses) == 10


def test_a_single_shipping_failure_is_not_reported() -> None:
    assert [
        retry_policy.is_failing for retry_policy in after(UNANSWERED, UNANSWERED, CollectorResponse.of(200), UNANSWERED)
    ] == [
        *(False, True),
        *(False, False),
    ]


@pytest.mark.parametrize("status", sorted(UNREADABLE))
def test_a_refused_batch_is_halved_at_once_and_a_refused_record_dropped(status: int) -> None:
    for batch, outcome in ((MANY, BatchOutcome.HALVED), (ONE, BatchOutcome.REFUSED)):
        (retry_policy,) = after(CollectorResponse.of(status), batch=batch)
        assert (retry_policy.outcome, retry_policy.pause, retry_policy.is_failing) == (outcome, 0, False)


def test_a_collector_that_refuses_everything_is_tried_with_growing_pauses() -> None:
    policies = after(*[CollectorResponse.of(400)] * (REFUSALS_AT_ONCE + 10))
    assert {retry_policy.pause for retry_policy in policies[:REFUSALS_AT_ONCE]} == {0}
    assert policies[REFUSALS_AT_ONCE].pause >= PAUSE / 2
    assert policies[-1].pause >= PAUSE_MAX / 2
    assert policies[-1].is_failing
    assert policies[-1].after(CollectorResponse.of(200), MANY).after(CollectorResponse.of(400), MANY).pause == 0


def test_the_retry_after_of_a_collector_is_followed_within_bounds() -> None:
    assert retry_after("7", 0) == 7
    assert retry_after("0", 0) == 0
    assert retry_after("86400", 0) == RETRY_AFTER_MAX
    assert retry_after(format_datetime(NOW, usegmt=True), NOW.timestamp() - 5) == 5
    assert retry_after(format_datetime(NOW, usegmt=True), NOW.timestamp() + 5) == 0
    for nothing in (None, "", "soon", "-1", "1.5", "٣", "Thu, 99 Nov 2026"):
        assert retry_after(nothing, 0) is None
    assert after(CollectorResponse.of(429, retry_after=7.0))[0].pause == 7
    assert after(CollectorResponse.of(503, retry_after=0.0))[0].pause == PAUSE


def look(
    trouble: FailureReporter, now: float, *, bad: bool, arrived: bool = True, **dropped: int
) -> tuple[ReportKind, dict[str, int]] | None:
    told = NONE_DROPPED | {Dropped(k): n for k, n in dropped.items()}
    found = trouble.look(now=now, is_failing=bad, has_arrived=arrived, dropped=told)
    return None if found is None else (found.kind, {str(reason): number for reason, number in found.dropped.items()})


def test_shipping_trouble_is_reported_once_a_minute_and_its_end_once() -> None:
    trouble = FailureReporter()
    assert look(trouble, 0, bad=False) is None
    assert look(trouble, 1, bad=True) == (ReportKind.WARNING, {})
    assert look(trouble, QUIET, bad=True, overflow=5) is None
    assert look(trouble, QUIET + 1, bad=True, overflow=7) == (ReportKind.WARNING, {"overflow": 7})
    assert look(trouble, QUIET + 2, bad=True, overflow=8, refused=1) is None
    assert look(trouble, QUIET + 3, bad=False, overflow=8, refused=1) == (
        ReportKind.ALL_CLEAR,
        {"overflow": 1, "refused": 1},
    )
    assert look(trouble, QUIET + 4, bad=False, overflow=8, refused=1) is None


def test_intermittent_shipping_trouble_is_reported_once_a_minute() -> None:
    trouble = FailureReporter()
    told = [look(trouble, second, bad=second % 2 == 0) for second in range(300)]
    assert [found[0] for found in told if found] == [ReportKind.WARNING, ReportKind.ALL_CLEAR] * 5


def test_dropped_records_are_reported_even_when_all_answers_are_good() -> None:
    """As when more is logged than a slow collector takes."""
    trouble = FailureReporter()
    assert look(trouble, 0, bad=False, overflow=3) == (ReportKind.WARNING, {"overflow": 3})
    assert look(trouble, 30, bad=False, overflow=9) is None
    assert look(trouble, 31, bad=False, overflow=9) == (ReportKind.ALL_CLEAR, {"overflow": 6})


def test_shipping_is_well_again_only_after_a_batch_has_arrived() -> None:
    """Not after a refusal that was halved, or a first failure: neither drops anything."""
    trouble = FailureReporter()
    assert look(trouble, 0, bad=True, arrived=False) == (ReportKind.WARNING, {})
    assert look(trouble, 1, bad=False, arrived=False) is None
    assert look(trouble, 2, bad=False) == (ReportKind.ALL_CLEAR, {})
