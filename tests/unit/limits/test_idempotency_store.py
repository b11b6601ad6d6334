"""What is kept for an Idempotency-Key, for how long, and who loses it first."""

from __future__ import annotations

import pytest

from http_api.errors import IdempotencyConflict, IdempotencyKeyReused, MalformedRequest
from http_api.limits.idempotency import read_key
from http_api.limits.idempotency_store import KEPT_FOR, OVERHEAD, KeptAnswer, KeptAnswers, Place

pytestmark = pytest.mark.unit

ANSWER = KeptAnswer(201, (("Location", "/there"),), b"{}")
A, B = b"fingerprint of a", b"fingerprint of b"


class Clock:
    now = 1_766_400_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers(clock: Clock) -> KeptAnswers:
    return KeptAnswers(clock)


def place(key: str = "k", caller: str = "alice", operation: str = "create") -> Place:
    return Place(caller, operation, key)


def keep(answers: KeptAnswers, at: Place, answer: KeptAnswer = ANSWER) -> None:
    assert answers.begin(at, A) is None
    answers.finish(at, answer)


def test_the_same_request_gets_the_answer_that_was_kept(answers: KeptAnswers) -> None:
    keep(answers, place())
    assert answers.begin(place(), A) is ANSWER
    assert answers.begin(place(), A) is ANSWER


def test_another_request_with_the_key_is_refused_also_while_the_first_one_runs(answers: KeptAnswers) -> None:
    answers.begin(place(), A)
    with pytest.raises(IdempotencyKeyReused):
        answers.begin(place(), B)
    answers.finish(place(), ANSWER)
    with pytest.raises(IdempotencyKeyReused):
        answers.begin(place(), B)


def test_while_it_runs_it_is_a_conflict(answers: KeptAnswers) -> None:
    answers.begin(place(), A)
    with pytest.raises(IdempotencyConflict):
        answers.begin(place(), A)


def test_what_is_not_kept_frees_the_key(answers: KeptAnswers) -> None:
    """For another body too: it may have been the body that was wrong."""
    answers.begin(place(), A)
    answers.finish(place(), None)
    assert answers.begin(place(), B) is None


@pytest.mark.parametrize("other", [place(caller="bob"), place(operation="register"), place(key="K")])
def test_a_key_is_the_callers_and_the_operations(answers: KeptAnswers, other: Place) -> None:
    keep(answers, place())
    assert answers.begin(other, B) is None


def test_it_is_kept_for_a_day_from_when_it_was_given(answers: KeptAnswers, clock: Clock) -> None:
    answers.begin(place(), A)
    clock.now += 600
    answers.finish(place(), ANSWER)
    clock.now += KEPT_FOR - 1
    assert answers.begin(place(), A) is ANSWER
    clock.now += 1
    assert answers.begin(place(), B) is None
    assert answers.size == 0


def test_who_takes_up_most_loses_his_oldest_answer_first(clock: Clock) -> None:
    answers = KeptAnswers(clock, size_max=10 * ANSWER.size)
    keep(answers, place("precious", caller="bob"))
    for n in range(100):
        keep(answers, place(str(n)))
    assert answers.size == 10 * ANSWER.size
    assert answers.begin(place("precious", caller="bob"), A) is ANSWER
    assert answers.begin(place("91"), A) is ANSWER
    assert answers.begin(place("90"), B) is None


def test_what_has_expired_goes_before_anything_else(clock: Clock) -> None:
    answers = KeptAnswers(clock, size_max=3 * ANSWER.size)
    keep(answers, place(caller="bob"))
    clock.now += KEPT_FOR
    for key in ("1", "2", "3"):
        keep(answers, place(key))
    assert all(answers.begin(place(key), A) is ANSWER for key in ("1", "2", "3"))


def test_an_answer_larger_than_all_that_may_be_kept_pushes_nothing_out(clock: Clock) -> None:
    answers = KeptAnswers(clock, size_max=10 * OVERHEAD)
    keep(answers, place())
    keep(answers, place("large"), KeptAnswer(200, (), bytes(10 * OVERHEAD)))
    assert answers.begin(place(), A) is ANSWER
    assert answers.begin(place("large"), A) is None


def test_neither_keys_nor_answers_are_shown_in_a_log(answers: KeptAnswers) -> None:
    secret = KeptAnswer(201, (("X", "s3cret"),), b"s3cret")
    assert "s3cret" not in repr(secret) + repr(place("s3cret"))


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
def test_a_key_is_read_bare_or_in_quotes(header: str, key: str) -> None:
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
def test_what_is_no_key_is_malformed(headers: list[str]) -> None:
    with pytest.raises(MalformedRequest):
        read_key(headers)
