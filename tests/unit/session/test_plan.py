"""What is to be done next, and when: each action by itself, then whole lives of sessions in virtual time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from manager_agent.backoff import backoff
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.dispatch import JOIN_TIMEOUT, RETURN_TIMEOUT
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.plan import (
    BLIND_LISTING_INTERVAL,
    DOUBT_PAUSES,
    LISTING_INTERVAL,
    NAME_QUARANTINE,
    THAW_GRACE,
    WAITING_LISTING_INTERVAL,
    Action,
    CheckDeadline,
    CleanUp,
    CreateRoom,
    DispatchManager,
    ListRoom,
    Purge,
    Remove,
    Replace,
    SendInvite,
    plan,
)
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import EndReason, Limits, Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.sessions import ASR, BOT, LLM, START

pytestmark = pytest.mark.unit


def actions(session: Session, now: float = START) -> tuple[Action, ...]:
    return plan(session, now).actions


# --- the room and its manager -----------------------------------------------------------------------


def test_the_plan_of_a_new_session_is_to_create_the_room() -> None:
    """Services are invited only once the room exists. The manager's dispatch is part of creating it."""
    session = given.a_session(given.JOINS, given.SIGNALS)
    assert actions(session) == (CreateRoom(),)
    assert actions(given.after(session, *given.requested())) == ()


def test_a_manager_that_does_not_join_is_dispatched_after_2_then_4_then_8_seconds() -> None:
    """Each dispatch is due once, and not a moment earlier."""
    session, now = given.after(given.a_session(), *given.created()), START
    for attempt, pause in enumerate([2, 4, 8], start=2):
        assert not [a for a in actions(session, now + pause - 0.01) if isinstance(a, DispatchManager)]
        now += pause
        assert DispatchManager(attempt) in actions(session, now)
        session = apply(session, ev.ManagerDispatched(now, attempt, f"sm-manager-{attempt}"))
        assert not [a for a in actions(session, now) if isinstance(a, DispatchManager)]


def test_the_wait_for_a_manager_is_at_most_thirty_seconds() -> None:
    """For a session that was ready before, dispatching goes on with growing pauses."""
    session, now, pauses = given.after(given.a_session(), *given.created()), START, []
    for attempt in range(2, 10):
        due = session.manager.next_dispatch_at
        pauses.append(due - now)
        session, now = apply(session, ev.ManagerDispatched(due, attempt, f"sm-manager-{attempt}")), due
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 30]


def test_a_manager_that_accepted_and_does_not_join_is_replaced_in_time() -> None:
    """Its connect may hang. Until it is in the room it is not relied on without a limit."""
    session = given.after(given.a_session(), *given.created(), ev.JobAccepted(START + 1, given.MANAGER))
    assert DispatchManager(2) not in actions(session, START + 1 + JOIN_TIMEOUT - 0.1)
    assert DispatchManager(2) in actions(session, START + 1 + JOIN_TIMEOUT)


def test_no_manager_is_dispatched_while_one_is_in_the_room() -> None:
    """Not in the whole life of the session."""
    session = given.after(given.a_session(), *given.managed())
    assert DispatchManager(2) not in actions(session, START + 100)


def test_a_manager_that_is_gone_is_replaced_at_once() -> None:
    """It had joined and stayed, so there is no reason for a pause."""
    session = given.after(given.a_session(), *given.managed(), ev.ManagerFailed(START + 50, given.MANAGER))
    assert DispatchManager(2) in actions(session, START + 50)


def test_a_manager_that_left_is_replaced_when_it_is_not_back_in_time() -> None:
    """Its process may be gone without a report."""
    session = given.after(given.a_session(), *given.managed(), given.left(given.MANAGER, "PA_manager", START + 50))
    assert DispatchManager(2) not in actions(session, START + 50 + RETURN_TIMEOUT - 0.1)
    assert DispatchManager(2) in actions(session, START + 50 + RETURN_TIMEOUT)


def test_a_manager_that_fails_before_it_joins_is_replaced_after_a_pause() -> None:
    """The pause grows with each failure, so that a broken manager is not dispatched in a tight loop."""
    session, now, pauses = given.after(given.a_session(), *given.created()), START, []
    for attempt in range(1, 7):
        identity = f"sm-manager-{attempt}"
        session = given.after(session, ev.JobAccepted(now, identity), ev.ManagerFailed(now, identity))
        pauses.append(session.manager.next_dispatch_at - now)
        now = session.manager.next_dispatch_at
        assert DispatchManager(attempt + 1) in actions(session, now)
        session = apply(session, ev.ManagerDispatched(now, attempt + 1, f"sm-manager-{attempt + 1}"))
    assert all(0.125 <= pause <= 7.5 for pause in pauses)
    assert pauses[0] < 0.5 < 2 < pauses[-1]


# --- invites ----------------------------------------------------------------------------------------


def test_all_services_are_invited_at_once_and_each_once() -> None:
    """As soon as the room exists, by dispatch and by HTTP alike."""
    session = given.after(
        given.a_session(given.JOINS, given.SIGNALS, given.made_optional(given.AGENT)), *given.managed()
    )
    assert actions(session) == (SendInvite(ASR, 1, 1), SendInvite(LLM, 1, 1), SendInvite(BOT, 1, 1))
    assert actions(given.after(session, *given.invited(ASR, LLM, BOT))) == ()


def refused(session: Session, at: float, tries: int = 1, *, final: bool = False) -> Session:
    return apply(session, ev.InviteRefused(at, ASR, 1, tries, Refusal.UNREACHABLE, final))


def invites(session: Session, now: float) -> list[Action]:
    return [action for action in actions(session, now) if isinstance(action, SendInvite)]


def test_a_failed_invite_is_repeated_with_growing_pauses_until_the_deadline() -> None:
    """A quarter of a second, doubled each time up to five seconds, spread by half; none after the deadline."""
    session, now, pauses = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR)), START, []
    tries = 1
    while True:
        session = refused(session, now, tries)
        due = session.services[ASR].current.retry_at
        if due >= session.ready_deadline:
            break
        pauses.append(due - now)
        assert invites(session, due - 0.001) == []
        assert invites(session, due) == [SendInvite(ASR, 1, tries + 1)]
        tries, now = tries + 1, due
        session = apply(session, ev.InviteStarted(now, ASR, 1, tries, "sm-asr-1", "inv_0"))
        assert invites(session, now + 1) == []
    assert invites(session, math.inf) == []
    nominal = [min(0.25 * 2**n, 5) for n in range(len(pauses))]
    assert all(0.5 * n <= pause <= 1.5 * n for n, pause in zip(nominal, pauses, strict=True))
    assert len(pauses) >= 7


def test_an_optional_service_is_invited_again_after_the_deadline_too() -> None:
    """The session goes on without it, but it may come back."""
    session = refused(
        given.after(given.a_session(given.made_optional(given.JOINS)), *given.managed(), *given.invited(ASR)),
        START + 29.9,
    )
    due = session.services[ASR].current.retry_at
    assert due > session.ready_deadline
    assert session.state is SessionState.READY
    assert invites(session, due) == [SendInvite(ASR, 1, 2)]


def test_a_service_lost_after_ready_is_invited_again_while_time_is_left() -> None:
    """The ready deadline is long past. The first pause grows with each attempt."""
    lost: list[Event] = [given.seen("sm-asr-1", "PA_1", START), given.left("sm-asr-1", "PA_1", START + 60)]
    session = given.after(
        given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), ev.InviteAccepted(START, ASR, 1, 1), *lost
    )
    session = apply(session, ev.InviteStarted(START + 61, ASR, 2, 1, "sm-asr-2", "inv_2"))
    tries, now = 1, START + 61
    while True:
        session = apply(session, ev.InviteRefused(now, ASR, 2, tries, Refusal.UNREACHABLE))
        due = session.services[ASR].current.retry_at
        if due >= START + 60 + session.limits.replacement_timeout:
            break
        assert invites(session, due) == [SendInvite(ASR, 2, tries + 1)]
        tries, now = tries + 1, due
        session = apply(session, ev.InviteStarted(now, ASR, 2, tries, "sm-asr-2", "inv_2"))
    assert tries >= 5
    assert actions(session, due) == (CheckDeadline(),)


def test_invites_of_two_services_are_not_repeated_in_step() -> None:
    """The spread is different for each invite, and for the same one always the same."""
    pauses = {backoff(f"inv_{n}", 3) for n in range(100)}
    assert len(pauses) == 100
    assert backoff("inv_0", 3) == backoff("inv_0", 3)
    assert 0.5 <= min(pauses) < 0.6 < 1.4 < max(pauses) <= 1.5


def test_a_final_refusal_is_not_followed_by_another_invite() -> None:
    """It is final for this attempt."""
    session = refused(
        given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR)), START, final=True
    )
    assert invites(session, math.inf) == []


@pytest.mark.parametrize(
    "event",
    [
        ev.InviteAccepted(START + 2, ASR, 1, 2),
        given.seen("sm-asr-1", "PA_1", START + 2),
        given.signal("sm-asr-1", Signal.READY, START + 2, Evidence.HTTP),
        given.signal("sm-asr-1", Signal.FAILED, START + 2, Evidence.HTTP),
    ],
    ids=["accepted", "joined", "ready", "failed"],
)
def test_a_service_that_has_appeared_is_not_invited_again(event: Event) -> None:
    """Whatever the outcome of the first try: it must have received the invite."""
    session = refused(given.after(given.a_session(given.SIGNALS), *given.managed(), *given.invited(ASR)), START)
    if isinstance(event, ev.InviteAccepted):
        session = apply(session, ev.InviteStarted(START + 1, ASR, 1, 2, "sm-asr-1", "inv_0"))
    assert invites(apply(session, event), START + 29) == []


# --- listings ---------------------------------------------------------------------------------------


def test_a_room_without_webhooks_is_listed_every_200_ms_while_its_session_waits() -> None:
    """The first time 200 ms after the room was created, then after each listing."""
    session = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(ASR))
    assert plan(session, START).wake_at == START + BLIND_LISTING_INTERVAL
    assert actions(session, START + BLIND_LISTING_INTERVAL) == (ListRoom(),)
    asked = apply(session, ev.ListingStarted(START + BLIND_LISTING_INTERVAL))
    assert ListRoom() not in actions(asked, START + 10), "one at a time"
    answered = apply(asked, given.listed(START + 1, asked_at=START + BLIND_LISTING_INTERVAL))
    assert ListRoom() not in actions(answered, START + 1)
    assert ListRoom() in actions(answered, START + 1 + BLIND_LISTING_INTERVAL)


def test_a_failed_listing_is_repeated_with_growing_pauses() -> None:
    """More requests would not help a LiveKit in trouble."""
    session, now, pauses = (
        given.after(given.a_session(given.JOINS), *given.created(), *given.invited(ASR)),
        START + 1,
        [],
    )
    for _ in range(5):
        session = given.after(session, ev.ListingStarted(now), ev.ListingFailed(now, asked_at=now))
        later = plan(session, now).wake_at
        pauses.append(later - now)
        now = later
    assert pauses[0] < 0.5


def test_a_room_is_listed_when_a_manager_has_joined() -> None:
    """Participants may have left while no manager watched. No event reports that."""
    session = given.after(given.a_session(given.JOINS), *given.created(), ev.WebhookArrived(START))
    session = given.after(
        session, ev.JobAccepted(START + 3, given.MANAGER), given.seen(given.MANAGER, "PA_manager", START + 4)
    )
    assert ListRoom() in actions(session, START + 4)
    listed_then = given.after(
        session,
        ev.ListingStarted(START + 4),
        given.listed(START + 4.1, ParticipantInfo(given.MANAGER, "PA_manager"), asked_at=START + 4),
    )
    assert ListRoom() not in actions(listed_then, START + 4.2)


def test_after_a_standstill_a_room_that_is_missing_is_not_asked_for_without_a_pause() -> None:
    """The user is in it as far as the session knows, so it is not made again, and a manager seems to be connected."""
    session = given.after(given.a_session(given.JOINS), *given.watched(), *given.invited(ASR), ev.WebhookArrived(START))
    session = given.after(session, given.seen("sm-asr-1", "PA_1", START + 1), given.seen("alice", "PA_user", START + 2))
    thawed_at = at = START + 100
    for _ in range(10):
        session = given.after(session, ev.ListingStarted(at), ev.RoomMissed(at + 0.002, at, is_confirmed=True))
        assert not session.over
        due = plan(session, at + 0.002, thawed_at)
        at = at + 0.002 if ListRoom() in due.actions else due.wake_at
    assert at > thawed_at + 5


def test_after_a_standstill_nothing_is_found_overdue_before_it_could_arrive() -> None:
    """What services have done meanwhile arrives late, so a late one is not replaced at once. One that failed is."""
    session = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR))
    thawed_at = START + 100
    late = given.after(session, *given.accepted(ASR))
    failed = given.after(late, given.signal("sm-asr-1", Signal.FAILED, START))
    for one, kind in ((late, CheckDeadline), (late, Replace)):
        assert not [a for a in plan(one, thawed_at + THAW_GRACE - 0.1, thawed_at).actions if isinstance(a, kind)]
    assert plan(late, thawed_at + THAW_GRACE, thawed_at).actions == (CheckDeadline(),)
    patient = replace(late, limits=Limits(ready_timeout=1000))
    assert Replace(ASR, 1) in plan(patient, thawed_at + THAW_GRACE, thawed_at).actions
    assert Replace(ASR, 1) in plan(failed, START + 1, START + 0.5).actions


def test_after_a_standstill_a_room_is_listed_at_once_and_once() -> None:
    session = given.after(given.a_session(given.JOINS), *given.managed(), ev.WebhookArrived(START))
    session = given.after(session, ev.ListingStarted(START + 1), given.listed(START + 1.1, asked_at=START + 1))
    thawed_at = START + 3
    assert ListRoom() in plan(session, thawed_at, thawed_at).actions
    for asked_at in (thawed_at, thawed_at + 0.1):
        listed = given.after(session, ev.ListingStarted(asked_at), given.listed(asked_at + 0.1, asked_at=asked_at))
        assert ListRoom() not in plan(listed, asked_at + 0.2, thawed_at).actions
    young = given.after(given.a_session(given.JOINS), *given.created(thawed_at))
    assert ListRoom() not in plan(young, thawed_at, thawed_at).actions, "it was made since"


def test_a_reported_leave_is_checked_no_sooner_than_a_moment_after_the_last_listing() -> None:
    session = given.after(given.a_session(given.JOINS), *given.watched(), *given.invited(ASR), ev.WebhookArrived(START))
    session = given.after(session, given.shown("sm-asr-1", "PA_1", START + 1))
    session = given.after(session, ev.ListingStarted(START + 2), given.listed(START + 2.1, asked_at=START + 2))
    doubted = apply(session, given.left("sm-asr-1", "PA_1", START + 2.15))
    assert doubted.leave_check_at < START + 2.1 + DOUBT_PAUSES[0]
    assert ListRoom() not in actions(doubted, START + 2.1 + DOUBT_PAUSES[0] - 0.01)
    assert ListRoom() in actions(doubted, START + 2.1 + DOUBT_PAUSES[0])


@pytest.mark.parametrize(
    ("events", "interval"),
    [
        ([ev.WebhookArrived(START + 0.1)], WAITING_LISTING_INTERVAL),
        ([given.seen("sm-asr-1", "PA_1", START + 0.1)], WAITING_LISTING_INTERVAL),
        ([*given.in_charge(START), given.seen("sm-asr-1", "PA_1", START)], LISTING_INTERVAL),
        (
            [given.seen("sm-asr-1", "PA_1", START + 0.1), given.left("sm-asr-1", "PA_1", START + 0.1)],
            BLIND_LISTING_INTERVAL,
        ),
        ([ev.SessionClosed(START + 0.1)], math.inf),
    ],
    ids=["webhooks arrive", "ready without a manager", "ready", "degraded", "over"],
)
def test_a_watched_room_is_listed_at_long_intervals(events: list[Event], interval: float) -> None:
    """In case a report was lost: webhooks get lost."""
    session = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(ASR), *events)
    assert ListRoom() not in actions(session, START + min(interval, 1e6) - 0.1)
    assert (ListRoom() in actions(session, START + min(interval, 1e6))) == (interval < math.inf)


@pytest.mark.parametrize(
    ("events", "interval"),
    [
        ([ev.JobAccepted(START + 0.2, given.MANAGER), ev.WebhookArrived(START + 0.2)], LISTING_INTERVAL),
        ([ev.JobAccepted(START + 0.2, given.MANAGER)], WAITING_LISTING_INTERVAL),
        ([ev.WebhookArrived(START + 0.2)], WAITING_LISTING_INTERVAL),
    ],
    ids=["it joins", "no webhooks", "none is in charge"],
)
def test_a_ready_room_whose_manager_joins_is_listed_at_long_intervals(events: list[Event], interval: float) -> None:
    """After a burst of new sessions hundreds of them wait for their turn. What happens there is told by webhooks."""
    session = given.after(
        given.a_session(given.JOINS),
        *given.created(),
        *given.invited(ASR),
        given.seen("sm-asr-1", "PA_1", START),
        *events,
    )
    assert ListRoom() not in actions(session, START + interval - 0.1)
    assert ListRoom() in actions(session, START + interval)


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [given.created(), given.managed()], ids=["made", "managed"])
def test_an_ended_session_is_cleaned_up_once_and_then_purged(start: list[Event]) -> None:
    """No more invites, dispatches or listings, whatever was due."""
    over = given.after(given.a_session(given.JOINS), *start, ev.SessionClosed(START + 5))
    assert plan(over, START + 5).actions == (CleanUp(),)
    cleaning = apply(over, ev.CleanUpStarted(START + 5))
    assert plan(cleaning, START + 5) == plan(cleaning, math.inf)
    assert plan(cleaning, START + 5).actions == ()
    clean = apply(cleaning, ev.CleanedUp(START + 6))
    retention = clean.limits.retention
    assert plan(clean, START + 6).wake_at == START + 5 + retention
    assert plan(clean, START + 5 + retention).actions == (Purge(),)


def test_a_room_is_not_cleaned_up_before_its_creation_has_an_outcome() -> None:
    """Otherwise it would be created after it was deleted, and stay."""
    over = given.after(given.a_session(given.JOINS), *given.requested(), ev.SessionClosed(START + 1))
    assert plan(over, START + 100).actions == ()
    assert plan(apply(over, ev.RoomCreated(START + 2, "RM_1")), START + 2).actions == (CleanUp(),)
    assert plan(apply(over, ev.RoomRefused(START + 2)), START + 2).actions == (CleanUp(),)


def test_a_session_is_kept_as_long_as_its_room_name_is_quarantined() -> None:
    """However short the retention is, and however long the deletion of the room took."""
    brief = replace(given.a_session(), limits=Limits(retention=1))
    clean = given.after(
        brief, *given.managed(), ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START + 25)
    )
    assert plan(clean, START + 25).wake_at == START + 25 + NAME_QUARANTINE


def test_a_plan_has_no_instant_if_only_a_change_can_matter_and_never_the_present_one() -> None:
    over = given.after(given.a_session(given.JOINS), *given.requested(), ev.SessionClosed(START + 1))
    assert plan(over, START + 1).wake_at == math.inf
    session = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(ASR))
    now = START + BLIND_LISTING_INTERVAL
    assert ListRoom() in actions(session, now)
    assert plan(session, now).wake_at > now


# --- whole lives ------------------------------------------------------------------------------------


@dataclass
class Life:
    """A session and an environment that does all that the plan asks for, at the instant it is due."""

    session: Session
    room_is_made: bool = True
    managers_come: bool = True
    invite_is_accepted: bool = True
    services_come: bool = True
    now: float = START
    done: Counter[str] = field(default_factory=Counter)
    instants: list[tuple[float, Action]] = field(default_factory=list)

    def on(self, *events: Event) -> Life:
        self.session = given.after(self.session, *events)
        return self

    def until(self, done: Callable[[Session], bool] = lambda session: False, at: float = math.inf) -> Life:
        """Run until the session is as wanted, or that instant, or nothing is left to do."""
        while True:
            for action in plan(self.session, self.now).actions:
                self.do(action)
            due = plan(self.session, self.now)
            if done(self.session) or self.done["Purge"]:
                return self
            if not due.actions:
                self.now = min(due.wake_at, at)
                if self.now == at:
                    return self

    def do(self, action: Action) -> None:
        self.done[type(action).__name__] += 1
        self.instants.append((self.now, action))
        assert sum(at == self.now for at, _ in self.instants) < 10, "a busy loop"
        match action:
            case CreateRoom():
                self.on(*given.requested(self.now))
                self.on(ev.RoomCreated(self.now, "RM_1") if self.room_is_made else ev.RoomRefused(self.now))
                self.manager_comes(1)
            case DispatchManager(attempt):
                self.on(ev.ManagerDispatched(self.now, attempt, f"sm-manager-{attempt}"))
                self.manager_comes(attempt)
            case SendInvite(entry, attempt, tries):
                identity = f"sm-{entry}-{attempt}"
                self.on(ev.InviteStarted(self.now, entry, attempt, tries, identity, f"inv_{entry}"))
                key = (self.now, entry, attempt, tries)
                self.on(
                    ev.InviteAccepted(*key) if self.invite_is_accepted else ev.InviteRefused(*key, Refusal.UNREACHABLE)
                )
                if self.services_come and self.invite_is_accepted:
                    self.on(ev.ParticipantSeen(self.now, ParticipantInfo(identity, f"PA_{entry}_{attempt}")))
            case ListRoom():
                self.on(ev.ListingStarted(self.now), given.listed(self.now, *self.who_is_here()))
            case Replace(entry, attempt):  # there is no other instance
                self.on(ev.ReplacementHeld(self.now, entry, attempt, self.now + 1))
            case Remove(identity):
                self.on(ev.RemovalStarted(self.now, identity), ev.RemovalEnded(self.now, identity, True))
            case CheckDeadline():
                self.on(ev.DeadlinePassed(self.now))
            case CleanUp():
                self.on(ev.CleanUpStarted(self.now), ev.CleanedUp(self.now))

    def who_is_here(self) -> list[ParticipantInfo]:
        known = {self.session.manager.identity: self.session.manager.presence}
        known |= {service.identity: service.presence for service in self.session.services}
        known["alice"] = self.session.user_presence
        return [ParticipantInfo(identity, here.sid) for identity, here in known.items() if identity and here.sid]

    def manager_comes(self, attempt: int) -> None:
        if self.managers_come:
            identity = f"sm-manager-{attempt}"
            self.on(ev.JobAccepted(self.now, identity), given.seen(identity, f"PA_m{attempt}", self.now))

    @property
    def ended(self) -> str | None:
        """The end reason, and how long after the start."""
        end = self.session.end
        return f"{end.reason} after {end.at - START:g} s" if end else None


WORLD = ("managers_come", "invite_is_accepted", "services_come")
"""What may go well or not in the life of a session whose room is created."""


def over(session: Session) -> bool:
    return session.over


def ready(session: Session) -> bool:
    return session.state is SessionState.READY


def a_life(*services: RequiredService, **world: bool) -> Life:
    life = Life(given.a_session(*services))
    for name, truth in world.items():
        setattr(life, name, truth)
    return life


def the_user_joins(life: Life) -> Life:
    return life.on(given.seen("alice", f"PA_u{life.now:.0f}", life.now))


LIVES: dict[EndReason, tuple[Callable[[], Life], float]] = {
    EndReason.ROOM_UNAVAILABLE: (lambda: a_life(given.JOINS, room_is_made=False), 0),
    EndReason.READY_TIMEOUT: (lambda: a_life(given.JOINS, services_come=False), 30),
    EndReason.USER_NEVER_JOINED: (lambda: a_life(given.JOINS), 120),
    EndReason.USER_LEFT: (
        lambda: (
            the_user_joins(a_life(given.JOINS).until(ready))
            .until(at=START + 50)
            .on(given.left("alice", "PA_u1000", START + 50))
        ),
        50 + 20,
    ),
    EndReason.EXPIRED: (lambda: the_user_joins(a_life(given.JOINS).until(ready)), 86_400),
    EndReason.SERVICE_LOST: (lambda: a_life(given.JOINS).until(ready).on(given.left("sm-0-1", "PA_0_1", START)), 20),
    EndReason.ROOM_CLOSED: (
        lambda: the_user_joins(a_life(given.JOINS).until(ready)).until(at=START + 7).on(ev.RoomClosed(START + 7)),
        7,
    ),
    EndReason.CLOSED: (lambda: a_life(given.JOINS).until(ready, START + 7).on(ev.SessionClosed(START + 7)), 7),
    EndReason.CLIENT_GONE: (
        lambda: a_life(given.JOINS, services_come=False).until(at=START + 7).on(ev.SessionClosed(START + 7, True)),
        7,
    ),
}
"""For each end reason a life that ends by it, and how many seconds after the session was requested."""


@pytest.mark.parametrize("reason", list(EndReason))
def test_each_end_reason_ends_a_session_at_its_time(reason: EndReason) -> None:
    """With nothing happening but time. Afterwards it is cleaned up once, kept, and purged."""
    begin, seconds = LIVES[reason]
    life = begin().until(over)
    assert life.ended == f"{reason} after {seconds:g} s"
    life.until()
    assert life.done["CleanUp"] == life.done["Purge"] == 1
    assert life.instants[-1] == (START + seconds + life.session.limits.retention, Purge())


def test_a_session_without_trouble_takes_one_of_each_action() -> None:
    """One room, one manager dispatched with it, one invite for each service, and a listing at long intervals."""
    life = a_life(given.JOINS, given.AGENT, services_come=False).until(at=START + 0.1)
    life.on(given.seen("sm-0-1", "PA_1", life.now), given.seen("sm-1-1", "PA_2", life.now)).until()
    looks = life.done.pop("ListRoom")
    assert looks == 120 // LISTING_INTERVAL
    assert life.done == {"CreateRoom": 1, "SendInvite": 2, "CheckDeadline": 1, "CleanUp": 1, "Purge": 1}


def test_a_waiting_session_fails_after_three_dispatches_without_a_manager() -> None:
    """At 0, 2 and 6 seconds; the wait for the last one ends at 14."""
    life = a_life(given.JOINS, managers_come=False, services_come=False).until(over)
    assert life.ended == "room_unavailable after 14 s"
    dispatched = [at - START for at, action in life.instants if isinstance(action, DispatchManager)]
    assert dispatched == [2, 6]


def test_a_session_that_may_wait_longer_tries_more_dispatches_before_it_fails() -> None:
    """On a busy machine a manager takes long to join."""
    session = given.a_session(given.JOINS)
    patient = Life(replace(session, limits=replace(session.limits, ready_timeout=120)))
    patient.managers_come = patient.services_come = False
    assert patient.until(over).ended == "room_unavailable after 60 s"
    assert [at - START for at, action in patient.instants if isinstance(action, DispatchManager)] == [2, 6, 14, 30]


def test_a_ready_session_goes_on_without_a_manager() -> None:
    """The token was given: managers are dispatched as long as the session lives."""
    life = a_life(given.JOINS, managers_come=False).until(over)
    assert life.ended == "user_never_joined after 120 s"
    assert life.done["DispatchManager"] == 6


def test_an_unreachable_service_is_tried_until_the_deadline() -> None:
    """In the end it is named with its reason."""
    life = a_life(given.JOINS, invite_is_accepted=False).until(over)
    assert life.ended == "ready_timeout after 30 s"
    assert life.session.reason_of(life.session.services[ASR]) == "unreachable"
    assert 8 <= life.done["SendInvite"] <= 16


def test_a_wait_without_webhooks_is_150_listings_long() -> None:
    """One in 200 ms for 30 seconds, and not one more."""
    life = a_life(given.JOINS, services_come=False).until(over)
    assert life.done["ListRoom"] in (149, 150)


def test_a_page_reload_does_not_end_the_session() -> None:
    """The user may be away for USER_REJOIN_TIMEOUT, any number of times."""
    life = the_user_joins(a_life(given.JOINS).until(ready))
    for _ in range(5):
        sid = life.session.user_presence.sid
        assert sid is not None
        life.on(given.left("alice", sid, life.now)).until(at=life.now + 19.9)
        assert ready(life.session)
        the_user_joins(life).until(at=life.now + 100)
        assert life.session.state is SessionState.ACTIVE
    assert life.ended is None


@pytest.mark.parametrize("join_is_told", [False, True])
def test_user_rejoin_timeout_counts_from_when_the_user_left(join_is_told: bool) -> None:
    """Also when the leave is reported before the join, or the join never."""
    life = a_life(given.JOINS).until(ready).until(at=START + 50).on(given.left("alice", "PA_a", START + 50))
    if join_is_told:
        life.on(given.seen("alice", "PA_a", START + 50.1))
    assert life.until(over).ended == "user_left after 70 s"


def test_a_lost_service_has_its_full_time_to_come_back_each_time() -> None:
    """Counted from when it was lost."""
    life = a_life(given.JOINS).until(ready).until(at=START + 50)
    life.on(given.left("sm-0-1", "PA_0_1", life.now)).until(at=life.now + 19.9)
    assert life.session.state is SessionState.DEGRADED
    life.on(given.seen("sm-0-1", "PA_2", life.now)).until(at=life.now + 50)
    assert ready(life.session)
    lost_at = life.now
    life.on(given.left("sm-0-1", "PA_2", lost_at)).until(over)
    assert life.ended == f"service_lost after {lost_at + 20 - START:g} s"


def test_the_sooner_of_two_deadlines_applies() -> None:
    """A session that may live for ten seconds does not wait for thirty."""
    life = a_life(given.JOINS, services_come=False)
    life.session = replace(life.session, limits=Limits(max_duration=10))
    assert life.until(over).ended == "expired after 10 s"


SECONDS = st.floats(0.1, 50)


@settings(max_examples=150, derandomize=True)
@hypothesis.given(
    world=st.fixed_dictionaries(
        {name: st.booleans() for name in ("managers_come", "invite_is_accepted", "services_come")}
    ),
    limits=st.builds(
        Limits,
        ready_timeout=SECONDS,
        user_join_timeout=SECONDS,
        user_rejoin_timeout=SECONDS,
        replacement_timeout=SECONDS,
        max_duration=st.floats(1, 200),
        retention=SECONDS,
    ),
    services=st.lists(st.sampled_from([given.JOINS, given.SIGNALS, given.made_optional(given.JOINS)]), max_size=3),
    webhooks=st.booleans(),
)
def test_following_the_plan_is_never_idle_and_never_a_busy_loop(
    world: dict[str, bool], limits: Limits, services: list[RequiredService], webhooks: bool
) -> None:
    """Whenever the plan says to look again there is something to do, and what was done is not due again at once. Every
    life ends, is cleaned up once and purged."""
    life = a_life(*services, **world)
    life.session = replace(life.session, limits=limits)
    life.on(*[ev.WebhookArrived(START)] * webhooks)
    while not life.done["Purge"]:
        due = plan(life.session, life.now)
        assert all(due.actions.count(action) == 1 for action in due.actions)
        for action in due.actions:
            before = life.session
            life.do(action)
            assert life.session is not before or isinstance(action, Purge) or life.session.over
        again = plan(life.session, life.now)
        if not again.actions and not life.done["Purge"]:
            assert again.wake_at > life.now
            life.now = again.wake_at
            assert plan(life.session, life.now).actions, "woken for nothing"
    assert life.done["CleanUp"] == 1
    assert life.done["CreateRoom"] == 1
    assert life.now <= START + limits.max_duration + max(limits.retention, NAME_QUARANTINE) + 0.001


def test_pauses_grow_while_livekit_does_not_remove_a_replaced_service() -> None:
    replaced = ev.InviteStarted(START + 2, ASR, 2, 1, "sm-asr-2", "inv_2")
    session = given.after(
        given.a_session(given.JOINS),
        *(*given.managed(), *given.invited(ASR), *given.accepted(ASR)),
        *(given.left("sm-asr-1", "PA_1", START + 1), replaced, given.seen("sm-asr-1", "PA_2", START + 3)),
    )
    pauses = []
    for at in (START + 10, START + 20):
        session = given.after(
            session, ev.RemovalStarted(at, "sm-asr-1"), ev.RemovalEnded(at, "sm-asr-1", removed=False)
        )
        stale = session.stale_participant("sm-asr-1")
        assert stale is not None
        pauses.append(stale.removal_at - at)
    assert 0 < pauses[0] < pauses[1]
