"""Answers stored for an Idempotency-Key: for how long, and which are dropped first."""

from __future__ import annotations

import pytest

from http_api.errors import IdempotencyConflict, IdempotencyKeyReused, MalformedRequest
from http_api.limits.idempotency import read_key
from http_api.limits.idempotency_store import (
    KEPT_FOR,
    OVERHEAD,
    IdempotencyScope,
    IdempotencyStore,
    StoredAnswer,
    StoredRequest,
)
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

ANSWER = StoredAnswer(201, (("Location", "/there"),), b"{}")
A, B = b"fingerprint of a", b"fingerprint of b"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def answers(clock: VirtualClock) -> IdempotencyStore:
    return IdempotencyStore(clock)


def scope(key: str = "k", principal: str = "alice", operation: str = "create") -> IdempotencyScope:
    return IdempotencyScope(principal, operation, key)


def keep(answers: IdempotencyStore, at: IdempotencyScope, answer: StoredAnswer = ANSWER) -> None:
    assert answers.begin(at, A) is None
    answers.finish(at, answer)


def test_a_repeated_request_gets_the_stored_answer(answers: IdempotencyStore) -> None:
    keep(answers, scope())
    assert answers.begin(scope(), A) is ANSWER
    assert answers.begin(scope(), A) is ANSWER


def test_an_idempotency_key_can_not_be_reused_for_another_request(answers: IdempotencyStore) -> None:
    answers.begin(scope(), A)
    with pytest.raises(IdempotencyKeyReused):
        answers.begin(scope(), B)
    answers.finish(scope(), ANSWER)
    with pytest.raises(IdempotencyKeyReused):
        answers.begin(scope(), B)


def test_a_repeated_request_conflicts_while_the_first_one_runs(answers: IdempotencyStore) -> None:
    answers.begin(scope(), A)
    with pytest.raises(IdempotencyConflict):
        answers.begin(scope(), A)


def test_an_answer_that_is_not_stored_frees_the_idempotency_key(answers: IdempotencyStore) -> None:
    """For another body too: the first one may have been wrong."""
    answers.begin(scope(), A)
    answers.finish(scope(), None)
    assert answers.begin(scope(), B) is None


@pytest.mark.parametrize("other", [scope(principal="bob"), scope(operation="register"), scope(key="K")])
def test_idempotency_keys_are_separate_for_each_caller_and_operation(
    answers: IdempotencyStore, other: IdempotencyScope
) -> None:
    keep(answers, scope())
    assert answers.begin(other, B) is None


def test_an_answer_is_stored_for_a_day_after_it_was_given(answers: IdempotencyStore, clock: VirtualClock) -> None:
    answers.begin(scope(), A)
    clock.now += 600
    answers.finish(scope(), ANSWER)
    clock.now += KEPT_FOR - 1
    assert answers.begin(scope(), A) is ANSWER
    clock.now += 1
    assert answers.begin(scope(), B) is None
    assert answers.size == 0


def test_the_caller_with_the_most_stored_bytes_loses_its_oldest_answer_first(clock: VirtualClock) -> None:
    answers = IdempotencyStore(clock, size_max=10 * ANSWER.size)
    keep(answers, scope("precious", principal="bob"))
    for n in range(100):
        keep(answers, scope(str(n)))
    assert answers.size == 10 * ANSWER.size
    assert answers.begin(scope("precious", principal="bob"), A) is ANSWER
    assert answers.begin(scope("91"), A) is ANSWER
    assert answers.begin(scope("90"), B) is None


def test_expired_answers_are_dropped_before_all_others(clock: VirtualClock) -> None:
    answers = IdempotencyStore(clock, size_max=3 * ANSWER.size)
    keep(answers, scope(principal="bob"))
    clock.now += KEPT_FOR
    for key in ("1", "2", "3"):
        keep(answers, scope(key))
    assert all(answers.begin(scope(key), A) is ANSWER for key in ("1", "2", "3"))


def test_an_answer_larger_than_the_store_does_not_evict_others(clock: VirtualClock) -> None:
    answers = IdempotencyStore(clock, size_max=10 * OVERHEAD)
    keep(answers, scope())
    keep(answers, scope("large"), StoredAnswer(200, (), bytes(10 * OVERHEAD)))
    assert answers.begin(scope(), A) is ANSWER
    assert answers.begin(scope("large"), A) is None


def test_a_store_that_is_just_full_keeps_all_answers(clock: VirtualClock) -> None:
    """Also one that has expired: it is in no one's way."""
    answers = IdempotencyStore(clock, size_max=2 * ANSWER.size)
    keep(answers, scope("first", principal="bob"))
    clock.now += KEPT_FOR
    keep(answers, scope("second"))
    assert answers.size == 2 * ANSWER.size
    assert answers.kept(scope("first", principal="bob")) is not None


def test_an_answer_as_large_as_the_store_is_kept(clock: VirtualClock) -> None:
    answers = IdempotencyStore(clock, size_max=ANSWER.size)
    keep(answers, scope())
    assert answers.begin(scope(), A) is ANSWER


def test_the_keeper_is_told_what_is_stored_and_what_is_forgotten(clock: VirtualClock) -> None:
    told: list[tuple[str, StoredRequest | None]] = []
    answers = IdempotencyStore(clock, size_max=2 * ANSWER.size)
    answers.keep_with(lambda scope, stored: told.append((scope.key, stored)))
    for key in ("1", "2", "3"):
        keep(answers, scope(key))
    stored = StoredRequest(A, ANSWER, clock() + KEPT_FOR)
    assert told == [("1", stored), ("2", stored), ("3", stored), ("1", None)]


def test_the_name_under_which_an_answer_is_kept_stays_the_same() -> None:
    """Records of earlier versions have it."""
    assert scope().digest == "173a1be40b2bab4a4af948adfd69016ee5c30adc931f773c54ca46096d5c05d7"


def test_a_restored_answer_is_found_and_restored_once(answers: IdempotencyStore, clock: VirtualClock) -> None:
    stored = StoredRequest(A, ANSWER, clock() + KEPT_FOR)
    assert answers.kept(scope()) is None
    assert answers.restore(scope(), stored)
    assert not answers.restore(scope(), stored)
    assert answers.kept(scope()) is stored
    assert (answers.kept(scope("other")), answers.kept(scope(principal="bob"))) == (None, None)
    assert answers.size == ANSWER.size


def test_an_answer_that_is_dropped_is_gone_and_the_keeper_is_not_told(answers: IdempotencyStore) -> None:
    told = []
    keep(answers, scope())
    answers.keep_with(lambda scope, stored: told.append(scope))
    answers.drop(scope("other"))
    assert answers.size == ANSWER.size
    answers.drop(scope())
    assert (answers.size, answers.begin(scope(), B), told) == (0, None, [])


def test_the_repr_of_the_idempotency_store_shows_neither_keys_nor_answers(answers: IdempotencyStore) -> None:
    secret = StoredAnswer(201, (("X", "s3cret"),), b"s3cret")
    assert "s3cret" not in repr(secret) + repr(scope("s3cret"))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (r'"a\"b\\c"', 'a"b\\c'),
        ('a"b', 'a"b'),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("x" * 255, "x" * 255),
        ('"' + "x" * 255 + '"', "x" * 255),
    ],
)
def test_an_idempotency_key_is_read_bare_or_in_quotes(header: str, key: str) -> None:
    assert read_key([header]) == key


@pytest.mark.parametrize(
    "headers",
    [
        [""],
        ['""'],
        ['"'],
        ['"abc'],
        ["a b"],
        ['"a b"'],
        ["é"],
        ["x" * 256],
        ['"a"b"'],
        ['"a\\x"'],
        ["a", "b"],
        ["a, b"],
    ],
)
def test_an_invalid_idempotency_key_is_malformed(headers: list[str]) -> None:
    with pytest.raises(MalformedRequest):
        read_key(headers)
