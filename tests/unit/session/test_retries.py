"""When an attempt has failed, and when the same instance or another one is asked."""

from __future__ import annotations

import math
from typing import Any

import pytest

from manager_agent.backoff import backoff
from manager_agent.frozen import replace
from manager_agent.session.attempt import Attempt, Timeline
from manager_agent.session.events import Chosen, Evidence, InviteStarted, Refusal
from manager_agent.session.identities import Identities
from manager_agent.session.retries import (
    REJOIN_GRACE,
    again_at,
    failed_at,
    invite_started,
    replace_at,
    resend_at,
    returns_until,
)
from manager_agent.session.session import Limits
from tests.unit import sessions as given
from tests.unit.sessions import BOT, LLM, START

pytestmark = pytest.mark.unit

JOIN_TIMEOUT = 8.0


def attempt(**facts: Any) -> Attempt:
    """The second attempt of an entry, invited at 10."""
    facts.setdefault("timeline", Timeline(invited=10))
    return Attempt(Chosen("asr-1", "asr", endpoint="http://asr.example/"), 2, "sm-asr-1", "inv_1", **facts)


LEFT = attempt(timeline=Timeline(invited=10, left=15))
REPORTED = attempt(reported_failure=True, timeline=Timeline(invited=10, left=15, failed=14))
NEVER_SEEN = attempt(never_joined=True, timeline=Timeline(invited=10, failed=16))
REFUSED = attempt(refusal=Refusal.UNREACHABLE, refused_at=12, retry_at=13)
REFUSED_FOR_GOOD = replace(REFUSED, retry_at=math.inf)
ACCEPTED = attempt(timeline=Timeline(invited=10, accepted=11))


@pytest.mark.parametrize(
    ("one", "at"),
    [
        (attempt(), None),
        (ACCEPTED, None),
        (LEFT, 15),
        (REPORTED, 14),
        (NEVER_SEEN, 16),
        (REFUSED, 12),
        (replace(REFUSED, ready_by=Evidence.HTTP), None),
    ],
)
def test_an_attempt_fails_when_its_service_leaves_says_so_or_is_refused(one: Attempt, at: float | None) -> None:
    assert failed_at(one) == at


def test_an_instance_is_tried_again_after_its_pause_and_others_at_once() -> None:
    assert again_at(attempt()) == -math.inf
    assert again_at(REFUSED) == 13
    assert again_at(REFUSED_FOR_GOOD) == 12 + backoff("inv_1", 2)
    assert again_at(LEFT) == 15 + backoff("inv_1", 2)


@pytest.mark.parametrize(
    ("one", "at"),
    [
        (attempt(), math.inf),
        (REFUSED, 13),
        (REFUSED_FOR_GOOD, math.inf),
        (LEFT, math.inf),
        (replace(REFUSED, reported_failure=True), math.inf),
        (attempt(is_interrupted=True), -math.inf),
        (attempt(is_interrupted=True, in_flight=True), math.inf),
        (attempt(is_interrupted=True, ready_by=Evidence.HTTP), math.inf),
    ],
)
def test_the_same_invite_is_sent_again_where_it_was_refused_or_may_be_lost(one: Attempt, at: float) -> None:
    assert resend_at(one) == at


@pytest.mark.parametrize(
    ("one", "at"),
    [
        (attempt(), math.inf),
        (LEFT, 15 + REJOIN_GRACE),
        (REPORTED, 14),
        (NEVER_SEEN, 16),
        (REFUSED, 12),
        (replace(REFUSED, in_flight=True), math.inf),
        (ACCEPTED, 11 + JOIN_TIMEOUT),
        (replace(ACCEPTED, resent_at=13), 13 + JOIN_TIMEOUT),
        (replace(LEFT, held_until=20), 20),
        (replace(LEFT, held_until=15), 15 + REJOIN_GRACE),
    ],
)
def test_a_replacement_is_looked_for_once_a_service_failed_or_is_late(one: Attempt, at: float) -> None:
    assert replace_at(one, JOIN_TIMEOUT) == at


def test_a_service_that_was_cut_off_may_return_for_a_share_of_the_time_of_its_replacement() -> None:
    session = given.a_session(given.JOINS)
    assert returns_until(replace(session, limits=Limits(replacement_timeout=60)), START) == START + 10
    assert returns_until(replace(session, limits=Limits(replacement_timeout=6)), START) == START + 3


def test_the_event_of_an_invite_has_the_names_that_any_process_computes() -> None:
    names = Identities("secret")
    session = given.a_session(given.JOINS, given.SIGNALS, given.AGENT)
    first = invite_started(names, session, LLM, attempt=1, tries=1, at=START)
    identity, invite_id = names.service("s1", LLM, "llm-service", 1), names.invite("s1", LLM, 1)
    assert first == InviteStarted(START, LLM, 1, 1, identity, invite_id)
    dispatched = invite_started(names, session, BOT, attempt=1, tries=1, at=START)
    assert dispatched == InviteStarted(START, BOT, 1, 1, None, names.invite("s1", BOT, 1))


def test_another_try_of_an_attempt_keeps_its_identity_and_another_attempt_has_its_own() -> None:
    names = Identities("secret")
    session = given.after(given.a_session(given.JOINS, given.SIGNALS), *given.created(), *given.invited(LLM))
    again = invite_started(names, session, LLM, attempt=1, tries=2, at=START + 1)
    assert again == InviteStarted(START + 1, LLM, 1, 2, "sm-llm-1", names.invite("s1", LLM, 1))
    other = Chosen("llm-2", "LLM", endpoint="http://llm-2.example/")
    replaced = invite_started(names, session, LLM, attempt=2, tries=1, at=START + 2, instead=other)
    identity = names.service("s1", LLM, "llm-2", 2)
    assert replaced == InviteStarted(START + 2, LLM, 2, 1, identity, names.invite("s1", LLM, 2), other)
