"""Histories of a session: services and users come and go and talk, and all of it is told late, doubled, shuffled,
or not at all. What holds in every one of them is in world.py."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manager_agent.session import events as ev
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.session import ReadyOn, RequiredService, ServiceState
from manager_agent.session.transitions import apply
from tests.unit.sessions import AGENT, JOINS, SIGNALS, START, made_optional, with_instance
from tests.unit.world import USER, Tale, World

pytestmark = [pytest.mark.unit, pytest.mark.timeout(400)]  # when it fails, finding a short history takes a while

SERVICES: list[tuple[RequiredService, ...]] = [
    (JOINS,),
    (SIGNALS,),
    (AGENT,),
    (with_instance(AGENT, ready_on=ReadyOn.SIGNAL),),
    (JOINS, SIGNALS),
    (JOINS, made_optional(SIGNALS)),
]
"""The services that the session of a history may require."""
STRANGERS: list[Event] = [
    ev.ServiceSignalled(START, "asr-service", Signal.READY, Evidence.MESSAGE),
    ev.ServiceSignalled(START, "inv_0_1", Signal.READY, Evidence.HTTP),
    ev.ServiceSignalled(START, "mallory", Signal.FAILED, Evidence.MESSAGE),
    ev.ParticipantSeen(START, ParticipantInfo("mallory", "PA_m", 1, False, {"session.state": "ready"})),
    ev.ParticipantSeen(START, ParticipantInfo("bot", "PA_b", 1, False, {"lk.agent.name": "bot"})),
    ev.ParticipantSeen(START, ParticipantInfo("agent-x", "PA_x", 1, True, {"lk.agent.name": "another"})),
    ev.ManagerFailed(START, "mallory"),
    ev.RoomClosed(START, "RM_0"),
]
"""Events that never change anything."""


def something_happens(world: World, what: str, chance: random.Random) -> None:
    """One step of a history. `chance` makes the choices within it."""
    entry = chance.randrange(len(world.attempts))
    identities = world.attempts[entry]
    match what:
        case "a service comes" if identities:
            identity = chance.choice([*identities, *[identities[-1]] * 3])  # the latest attempt, as a rule
            agent_name = world.session.services[entry].agent_name
            visit = world.comes(identity or f"agent-{len(world.visits)}", agent_name)
            for _ in range(chance.choice([0, 0, 1, 2])):
                world.says(visit, Signal.READY, _some_evidence(chance))
        case "a service is on its way" if identities and identities[-1]:
            visit = world.comes(identities[-1], on_its_way=True)
            if chance.random() < 0.5:
                world.says(visit, Signal.READY, Evidence.HTTP)
        case "a participant arrives" if world.coming():
            world.arrives(chance.choice(world.coming()))
        case "a participant leaves" if world.present() or world.coming():
            world.goes(chance.choice(world.present() + world.coming()))
        case "a service signals" if services := [visit for visit in world.visits if visit.is_service]:
            signal = chance.choice([Signal.READY] * 8 + [*Signal])
            world.says(chance.choice(services[-3:]), signal, _some_evidence(chance))
        case "the user comes":
            world.comes(USER, on_its_way=chance.random() < 0.1)
        case "the room is listed":
            world.is_listed()
        case "an invite is answered" if identities:
            world.answers(entry, chance.choice([None, None, *Refusal]), final=chance.random() < 0.1)
        case "a service is replaced" if identities:
            world.replaces(entry)
        case "there is no replacement":
            world.holds(entry)
        case "a manager accepts" if world.dispatched:
            identity = chance.choice(world.dispatched)
            if world.record(ev.JobAccepted(world.now, identity)) and chance.random() < 0.8:
                world.comes(identity)
        case "a manager fails" if world.dispatched:
            world.untold.append(Tale(ev.ManagerFailed(world.now, chance.choice(world.dispatched))))
        case "a listing fails" if world.session.listing_since:
            world.record(ev.ListingFailed(world.now, world.session.listing_since))
        case "webhooks arrive":
            world.untold.append(Tale(ev.WebhookArrived(world.now)))
        case "it is closed":
            world.untold.append(Tale(ev.SessionClosed(world.now, chance.random() < 0.5)))
        case "what is due is done":
            world.does_what_is_due()
        case "time passes":
            world.now += chance.choice([0.05, 0.3, 2.0])
        case "some is told":
            for _ in range(min(chance.randint(1, 4), len(world.untold))):
                world.tell(chance.randrange(len(world.untold)), and_again=chance.random() < 0.2)
        case "all is told":
            while world.untold:
                world.tell(0)
        case "some is never told" if len(world.untold) > 1:
            del world.untold[chance.randrange(len(world.untold))]
        case "some is told again" if world.taken_in:
            world.changes_nothing(chance.choice(world.taken_in))
        case "a stranger tries":
            assert apply(world.session, stranger := chance.choice(STRANGERS)) is world.session, stranger


HAPPENINGS = {
    "a service comes": 6,
    "a service is on its way": 1,
    "a participant arrives": 1,
    "a participant leaves": 4,
    "a service signals": 5,
    "the user comes": 1,
    "the room is listed": 3,
    "an invite is answered": 2,
    "a service is replaced": 2,
    "there is no replacement": 1,
    "a manager accepts": 1,
    "a manager fails": 1,
    "a listing fails": 2,
    "webhooks arrive": 1,
    "what is due is done": 5,
    "time passes": 2,
    "some is told": 12,
    "all is told": 1,
    "some is never told": 2,
    "some is told again": 3,
    "a stranger tries": 1,
}
"""The steps of a history, with their weights."""
OFTEN = [what for what, how_often in HAPPENINGS.items() for _ in range(how_often)]


def a_history(services: tuple[RequiredService, ...], steps: list[tuple[str, int]]) -> World:
    """The model after all these steps, each with the seed of its choices."""
    world = World(services)
    for what in ("what is due is done", "all is told", "what is due is done"):
        something_happens(world, what, random.Random(0))
    for what, number in steps:
        something_happens(world, what, random.Random(number))
        world.check_beliefs()
    world.check_that_one_look_is_enough()
    world.check_beliefs()
    return world


STEPS = st.lists(st.tuples(st.sampled_from([*OFTEN, "it is closed"]), st.integers(0, 10_000)), max_size=40)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(services=st.sampled_from(SERVICES), steps=STEPS)
def test_no_history_breaks_the_laws_of_a_session(
    services: tuple[RequiredService, ...], steps: list[tuple[str, int]]
) -> None:
    """No token is given early and no end undone: the laws of every event and what may be believed, after every step.
    Hypothesis shrinks a failing history."""
    a_history(services, steps)


def by_chance(seed: int) -> tuple[tuple[RequiredService, ...], list[tuple[str, int]]]:
    """40 steps; in one history of four the session is closed half way."""
    chance = random.Random(seed)
    steps = [(chance.choice(OFTEN), chance.randrange(10_000)) for _ in range(40)]
    if chance.random() < 0.25:
        steps[20:20] = [("it is closed", 0), ("all is told", 0)]
    return chance.choice(SERVICES), steps


@pytest.mark.parametrize("block", range(10))
def test_no_random_history_breaks_the_laws_of_a_session(block: int) -> None:
    """The same with plain random choices, which is faster and gets further. The same histories each time."""
    for seed in range(block * 100, block * 100 + 100):
        try:
            a_history(*by_chance(seed))
        except AssertionError as wrong:
            wrong.add_note(f"a_history(*by_chance({seed}))")
            raise


def test_the_histories_reach_every_state_of_a_session() -> None:
    """They prove something only if sessions become ready in them, in every way, and stop being so."""
    met: Counter[str] = Counter()
    for seed in range(200):
        world = a_history(*by_chance(seed))
        met.update({f"{was.state} -> {now.state}" for was, now in pairwise(world.past)})
        met.update({f"ready by {service.ready_by}" for session in world.past for service in session.services})
        met.update({service.state for session in world.past for service in session.services})
        met.update({type(tale.event).__name__ for tale in world.taken_in})
    of_the_end = (ev.RoomRefused, ev.RoomClosed, ev.SessionClosed, ev.CleanUpStarted, ev.CleanedUp, ev.CleanUpFailed)
    expected = [
        *("waiting -> ready", "ready -> degraded", "degraded -> ready", "ready -> active", "active -> degraded"),
        *(f"ready by {evidence}" for evidence in Evidence),
        *ServiceState,
        *(kind.__name__ for kind in get_args(Event) if kind not in (*of_the_end, ev.DeadlinePassed)),
    ]
    assert {name: met[name] for name in expected if met[name] < 2} == {}


def _some_evidence(chance: random.Random) -> Evidence:
    return chance.choice([Evidence.MESSAGE, Evidence.ATTRIBUTE, Evidence.HTTP])
