"""An entry of a session: the attempts to get one required service."""

from __future__ import annotations

import pytest

from manager_agent.session.events import Chosen
from manager_agent.session.required_service import PAST_KEPT, RequiredService
from tests.unit.sessions import JOINS

pytestmark = pytest.mark.unit

OTHER = Chosen("asr-2", "ASR", "http://asr-2.example/invite")


def attempted(*instead: Chosen | None) -> RequiredService:
    service = JOINS
    for number, instance in enumerate(instead, 1):
        service = service.next_attempt(f"sm-asr-{number}", f"inv_{number}", float(number), instance)
    return service


def test_the_first_attempt_has_none_before_it() -> None:
    first = attempted(None)
    assert (first.attempt, first.identity, first.invite_id, first.timeline.invited) == (1, "sm-asr-1", "inv_1", 1.0)
    assert (first.current.in_flight, first.current.tries, first.past) == (True, 1, ())
    assert first.service_id == JOINS.service_id


def test_the_next_attempt_is_of_another_instance_or_of_the_same() -> None:
    service = attempted(None, OTHER, None)
    assert (service.attempt, service.service_id) == (3, "asr-2")
    assert [(past.number, past.instance.service_id) for past in service.past] == [(1, "asr-service"), (2, "asr-2")]


def test_the_latest_past_attempts_are_kept() -> None:
    past = attempted(*[None] * (PAST_KEPT + 3)).past
    assert [attempt.number for attempt in past] == list(range(3, PAST_KEPT + 3))


def test_the_instances_that_were_tried_are_named_once_each_the_latest_last() -> None:
    names = [ref.service_id for ref in attempted(None, OTHER, None, JOINS.current.instance).tried]
    assert names == ["asr-2", "asr-service"]
    assert [ref.service_id for ref in attempted(None, OTHER).tried] == ["asr-service", "asr-2"]
