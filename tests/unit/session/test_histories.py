"""Histories of a session: services and users join, leave and signal, and all of it is reported late, twice, shuffled,
or not at all. session_model.py has what holds in each of them."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Event, Evidence, ParticipantInfo, ReadyOn, Refusal, Signal
from manager_agent.session.required_service import RequiredService
from manager_agent.session.transitions import apply
from tests.unit.session_model import USER, EventReport, SessionModel
from tests.unit.sessions import AGENT, JOINS, SIGNALS, START, made_optional, with_instance

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


def take_step(model: SessionModel, what: str, chance: random.Random) -> None:
    """One step of a history. `chance` makes the choices within it."""
    entry = chance.randrange(len(model.attempts))
    identities = model.attempts[entry]
    if model.room_sid is None and what in NEED_A_ROOM:
        return
    match what:
        case "a service joins" if identities:
            identity = chance.choice([*identities, *[identities[-1]] * 3])  # the latest attempt, as a rule
            agent_name = model.session.services[entry].agent_name
            stay = model.join(identity or f"agent-{len(model.stays)}", agent_name)
            for _ in range(chance.choice([0, 0, 1, 2])):
                model.signal(stay, Signal.READY, _some_evidence(chance))
        case "a service is connecting" if identities and identities[-1]:
            stay = model.join(identities[-1], on_its_way=True)
            if chance.random() < 0.5:
                model.signal(stay, Signal.READY, Evidence.HTTP)
        case "a connecting participant joins" if model.coming():
            model.arrive(chance.choice(model.coming()))
        case "a participant leaves" if model.present() or model.coming():
            model.leave(chance.choice(model.present() + model.coming()))
        case "a service signals" if services := [stay for stay in model.stays if stay.is_service]:
            signal = chance.choice([Signal.READY] * 8 + [*Signal])
            model.signal(chance.choice(services[-3:]), signal, _some_evidence(chance))
        case "the user joins":
            model.join(USER, on_its_way=chance.random() < 0.1)
        case "the room is listed":
            model.list_room()
        case "the room is missed":
            model.unreported.append(EventReport(ev.RoomMissed(model.now, model.now)))
        case "the room is lost" if model.room_sid:
            model.unreported.append(EventReport(ev.RoomClosed(model.now, model.room_sid)))
            model.lose_room()
        case "a room is not made" if model.session.room.remaking_since is not None:
            model.unreported[:] = [one for one in model.unreported if not isinstance(one.event, ev.RoomCreated)]
            model.record(ev.RoomRefused(model.now))
        case "an invite is answered" if identities:
            model.answer(entry, chance.choice([None, None, *Refusal]), final=chance.random() < 0.1)
        case "a service is replaced" if identities:
            model.replace_service(entry)
        case "there is no replacement":
            model.hold(entry)
        case "a manager accepts" if model.dispatched:
            identity = chance.choice(model.dispatched)
            if model.record(ev.JobAccepted(model.now, identity)):
                if chance.random() < 0.8:
                    model.join(identity)
                else:
                    model.unreported.append(EventReport(ev.ManagerWaited(model.now, identity)))
        case "a manager fails" if model.dispatched:
            model.unreported.append(EventReport(ev.ManagerFailed(model.now, chance.choice(model.dispatched))))
        case "a listing fails" if model.session.listing_since:
            model.record(ev.ListingFailed(model.now, model.session.listing_since))
        case "webhooks arrive":
            model.unreported.append(EventReport(ev.WebhookArrived(model.now)))
        case "a token is given":
            model.unreported.append(EventReport(ev.TokenGiven(model.now, USER)))
        case "the session is closed":
            model.unreported.append(EventReport(ev.SessionClosed(model.now, chance.random() < 0.5)))
        case "due actions are done":
            model.do_what_is_due()
        case "time passes":
            model.now += chance.choice([0.05, 0.3, 2.0])
        case "some reports arrive":
            for _ in range(min(chance.randint(1, 4), len(model.unreported))):
                model.deliver(chance.randrange(len(model.unreported)), again=chance.random() < 0.2)
        case "all reports arrive":
            while model.unreported:
                model.deliver(0)
        case "a report is lost" if len(model.unreported) > 1:
            number = chance.randrange(len(model.unreported))
            if not isinstance(model.unreported[number].event, ev.RoomCreated):  # an answer, which a call always gets
                del model.unreported[number]
        case "a report is repeated" if model.applied:
            model.check_repetition(chance.choice(model.applied))
        case "a stranger tries":
            assert apply(model.session, stranger := chance.choice(STRANGERS)) is model.session, stranger


NEED_A_ROOM = {"a service joins", "a service is connecting", "the user joins", "a manager accepts"}
STEP_WEIGHTS = {
    "a service joins": 6,
    "a service is connecting": 1,
    "a connecting participant joins": 1,
    "a participant leaves": 4,
    "a service signals": 5,
    "the user joins": 1,
    "the room is listed": 3,
    "the room is missed": 1,
    "the room is lost": 1,
    "a room is not made": 1,
    "an invite is answered": 2,
    "a service is replaced": 2,
    "there is no replacement": 1,
    "a manager accepts": 1,
    "a manager fails": 1,
    "a listing fails": 2,
    "webhooks arrive": 1,
    "a token is given": 1,
    "due actions are done": 5,
    "time passes": 2,
    "some reports arrive": 12,
    "all reports arrive": 1,
    "a report is lost": 2,
    "a report is repeated": 3,
    "a stranger tries": 1,
}
"""The steps of a history, with their weights."""
OFTEN = [what for what, how_often in STEP_WEIGHTS.items() for _ in range(how_often)]


def a_history(services: tuple[RequiredService, ...], steps: list[tuple[str, int]]) -> SessionModel:
    """The model after all these steps, each with the seed of its choices."""
    model = SessionModel(services)
    for what in ("due actions are done", "all reports arrive", "due actions are done"):
        take_step(model, what, random.Random(0))
    for what, number in steps:
        take_step(model, what, random.Random(number))
        model.check_conclusions()
    model.check_that_listings_are_enough()
    model.check_conclusions()
    return model


STEPS = st.lists(st.tuples(st.sampled_from([*OFTEN, "the session is closed"]), st.integers(0, 10_000)), max_size=40)


@settings(max_examples=150, derandomize=True)
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
        steps[20:20] = [("the session is closed", 0), ("all reports arrive", 0)]
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
    for seed in range(400):
        model = a_history(*by_chance(seed))
        met.update({f"{was.state} -> {now.state}" for was, now in pairwise(model.past)})
        met.update({f"ready by {service.ready_by}" for session in model.past for service in session.services})
        met.update({service.state for session in model.past for service in session.services})
        met.update({type(report.event).__name__ for report in model.applied})
    not_drawn = (
        *(ev.SessionClosed, ev.CleanUpStarted, ev.CleanedUp, ev.CleanUpFailed, ev.DeadlinePassed),
        *(ev.ManagerDue, ev.Interrupted),
    )
    expected = [
        *("waiting -> ready", "ready -> degraded", "degraded -> ready", "ready -> active", "active -> degraded"),
        *("ready -> waiting", "degraded -> waiting"),
        *(f"ready by {evidence}" for evidence in Evidence),
        *ServiceState,
        *(kind.__name__ for kind in get_args(Event) if kind not in not_drawn),
    ]
    assert {name: met[name] for name in expected if met[name] < 2} == {}


def _some_evidence(chance: random.Random) -> Evidence:
    return chance.choice([Evidence.MESSAGE, Evidence.ATTRIBUTE, Evidence.HTTP])
