"""A reference model of one session: what is true, what has been reported of it, and what may be concluded.

The truth (joins, leaves, signals) is kept apart from the reports that the session gets, in any order, twice or never.
What may be concluded follows from the reports alone. It is computed here slowly, from the whole history, without a
line of the code under test.

A signal comes with an identity only, not with the participant's sid. So the model does what the session has to do: a
signal from before a join is known counts for the participant of that identity whose join is reported next, and no
signal is reported after the sender's successor is known. Every report of a join has LiveKit's instant of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Event, Evidence, ParticipantInfo, ReadyOn, Refusal, Signal
from manager_agent.session.participant import MISSED_FOR, MISSES_MAX, SUCCESSOR_MISSED_FOR
from manager_agent.session.plan import (
    CheckDeadline,
    CleanUp,
    CreateRoom,
    DispatchManager,
    ListRoom,
    Remove,
    Replace,
    SendInvite,
    plan,
)
from manager_agent.session.required_service import RequiredService
from manager_agent.session.transitions import apply as transition
from tests.unit.sessions import START, a_session

USER = "alice"
TICK = 0.001


@dataclass(eq=False)
class Stay:
    """One participant's stay in the room: the truth of it."""

    identity: str
    sid: str
    joined_ms: int
    agent_name: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    on_its_way: bool = False
    here: bool = True
    room: int = 0
    """How often the room had been made again when it joined."""

    @property
    def is_service(self) -> bool:
        return self.identity != USER and not self.identity.startswith("sm-manager")

    def seen(self) -> ParticipantInfo:
        return ParticipantInfo(self.identity, self.sid, self.joined_ms, self.identity != USER, dict(self.attributes))


@dataclass(frozen=True)
class EventReport:
    """Something to report to the session, and the stay that it is about."""

    event: Event
    stay: Stay | None = None


class SessionModel:
    def __init__(self, services: tuple[RequiredService, ...]) -> None:
        self.session = a_session(*services)
        self.room_sid: str | None = None
        """The room that LiveKit has; None: it has none."""
        self.rooms = 0
        """How many rooms LiveKit has made."""
        self.now = START
        self.stays: list[Stay] = []
        self.attempts: list[list[str | None]] = [[] for _ in services]
        """The identity of each attempt of each entry, in order."""
        self.dispatched: list[str] = []
        self.unreported: list[EventReport] = []
        self.delivered: list[EventReport] = []
        self.applied: list[EventReport] = []
        """The delivered reports that changed something."""
        self.past = [self.session]

    # --- the truth ---

    def present(self) -> list[Stay]:
        return [stay for stay in self.stays if stay.here and not stay.on_its_way]

    def coming(self) -> list[Stay]:
        return [stay for stay in self.stays if stay.here and stay.on_its_way]

    def join(self, identity: str, agent_name: str | None = None, *, on_its_way: bool = False) -> Stay:
        """A participant joins, and replaces the one that has its identity."""
        for stay in self.stays:
            if stay.here and stay.identity == identity:
                self.leave(stay)
        self.now += TICK
        attributes = {"lk.agent.name": agent_name, "lk.agent.state": "initializing"} if agent_name else {}
        joined_ms = round((self.now - START) * 1000)
        sid = f"PA_{len(self.stays) + 1}"
        stay = Stay(identity, sid, joined_ms, agent_name, attributes, on_its_way, room=self.rooms - 1)
        self.stays.append(stay)
        if not on_its_way:
            self.arrive(stay)
        return stay

    def arrive(self, stay: Stay) -> None:
        stay.on_its_way = False
        self.unreported.append(EventReport(ev.ParticipantSeen(self.now, stay.seen()), stay))

    def leave(self, stay: Stay) -> None:
        """A participant leaves. If it was still connecting, LiveKit reports an aborted connection."""
        stay.here = False
        left = ev.ParticipantLeft(self.now, stay.identity, stay.sid, aborted=stay.on_its_way)
        self.unreported.append(EventReport(left, stay))

    def signal(self, stay: Stay, signal: Signal, how: Evidence) -> None:
        """In the room, only a present participant can signal; by HTTP also one that is connecting or has left."""
        here = stay in self.present()
        if how is Evidence.ATTRIBUTE and here:
            stay.attributes |= {"lk.agent.state": "idle"} if stay.agent_name else {"session.state": signal}
            self.unreported.append(EventReport(ev.ParticipantSeen(self.now, stay.seen()), stay))
        elif here if how is Evidence.MESSAGE else (how is Evidence.HTTP and not stay.agent_name):
            self.unreported.append(EventReport(ev.ServiceSignalled(self.now, stay.identity, signal, how), stay))

    def lose_room(self) -> None:
        """LiveKit loses the room, and reports no leaves. What it had to say of them, it says no more."""
        self.room_sid = None
        for stay in self.stays:
            stay.here = stay.on_its_way = False

    def make_room(self) -> str:
        """The room that LiveKit has, or has made."""
        if self.room_sid is None:
            self.rooms += 1
            self.room_sid = f"RM_{self.rooms}"
        return self.room_sid

    def list_room(self) -> None:
        """List the room as it is now; requested a moment before the answer."""
        asked_at = self.now
        self.now += TICK
        if self.room_sid is None:
            self.unreported.append(EventReport(ev.RoomMissed(self.now, asked_at, is_confirmed=True)))
            return
        here = tuple(stay.seen() for stay in self.present())
        joining = tuple(stay.identity for stay in self.coming())
        self.unreported.append(EventReport(ev.RoomListed(asked_at, asked_at, here, joining)))
        self.now += TICK

    # --- what the session manager does ---

    def do_what_is_due(self) -> None:
        """Record what the plan asks for; its outcome will be reported."""
        for action in plan(self.session, self.now).actions:
            match action:
                case CreateRoom() if self.session.room.created_at is None:
                    self.record(ev.RoomRequested(self.now))
                    self.dispatch(1)
                    self.unreported.append(EventReport(ev.RoomCreated(self.now, self.make_room())))
                case CreateRoom():
                    if self.record(ev.RoomRequested(self.now)):
                        manager = f"sm-manager-{self.session.manager.attempt + 1}"
                        created = ev.RoomCreated(self.now, self.make_room(), manager)
                        self.unreported.append(EventReport(created))
                case DispatchManager(attempt):
                    self.dispatch(attempt)
                case SendInvite(entry, attempt, tries):
                    self.invite(entry, attempt, tries)
                case Replace(entry, attempt):
                    self.invite(entry, attempt + 1, 1)
                case Remove(identity):
                    if self.record(ev.RemovalStarted(self.now, identity)):
                        self.remove(identity)
                case ListRoom():
                    if self.record(ev.ListingStarted(self.now)):
                        self.list_room()
                case CheckDeadline():
                    self.record(ev.DeadlinePassed(self.now))
                case CleanUp():
                    self.record(ev.CleanUpStarted(self.now))
                    self.unreported.append(EventReport(ev.CleanedUp(self.now)))

    def remove(self, identity: str) -> None:
        for stay in self.present():
            if stay.identity == identity:
                self.leave(stay)
        self.unreported.append(EventReport(ev.RemovalEnded(self.now, identity, removed=True)))

    def dispatch(self, attempt: int) -> None:
        self.dispatched.append(f"sm-manager-{attempt}")
        self.record(ev.ManagerDispatched(self.now, attempt, self.dispatched[-1]))

    def invite(self, entry: int, attempt: int, tries: int) -> None:
        identity = None if self.session.services[entry].agent_name else f"sm-{entry}-{attempt}"
        started = ev.InviteStarted(self.now, entry, attempt, tries, identity, f"inv_{entry}_{attempt}")
        if self.record(started) and tries == 1:
            self.attempts[entry].append(identity)

    def replace_service(self, entry: int) -> None:
        """Invite the next attempt. The participant of the last one may still be there, and signal."""
        service = self.session.services[entry]
        if service.agent_name is None and not service.current.in_flight:
            self.invite(entry, service.attempt + 1, 1)

    def hold(self, entry: int) -> None:
        """There is no other instance to invite."""
        self.record(ev.ReplacementHeld(self.now, entry, self.session.services[entry].attempt, self.now + 1.0))

    def answer(self, entry: int, refusal: Refusal | None, *, final: bool) -> None:
        service = self.session.services[entry]
        key = (self.now, entry, service.attempt, service.current.tries)
        self.unreported.append(
            EventReport(ev.InviteRefused(*key, refusal, final) if refusal else ev.InviteAccepted(*key))
        )

    # --- reports ---

    def deliver(self, which: int, *, again: bool = False) -> None:
        report = self.unreported[which] if again else self.unreported.pop(which)
        if isinstance(report.event, ev.ServiceSignalled) and self.is_superseded(report.stay):
            return
        if report.stay is not None and self.is_of_another_room(report.stay):
            return  # webhooks name their room, and a manager leaves when its room is replaced
        if isinstance(report.event, ev.RoomListed) and self.session.room.may_be_replaced:
            listed = transition(self.session, report.event)
            assert (listed.services, listed.presences) == (self.session.services, self.session.presences)
            return  # it may be of either room
        self.now += TICK
        self.apply(EventReport(replace(report.event, at=self.now), report.stay))

    def record(self, event: Event) -> bool:
        """Record at once what the session manager does. Returns whether it changed anything, so that it may be done."""
        return self.apply(EventReport(event))

    def apply(self, report: EventReport) -> bool:
        """Check the laws of every event, whatever was reported before. Returns whether it changed anything."""
        before, now = self.session, transition(self.session, report.event)
        assert transition(now, report.event) is now, "applied twice, it changed something the second time"
        assert (now is before) == (now == before)
        assert now.revision in (before.revision, before.revision + 1)
        assert now.revision > before.revision or now.state is before.state
        if now.room.remakes == before.room.remakes:
            assert before.ready_at is None or now.ready_at == before.ready_at
        if before.end is not None:
            assert now.end is not None, "an end is final"
            assert (now.end.reason, now.end.at) == (before.end.reason, before.end.at)
            assert (now.state, now.services, now.manager) == (before.state, before.services, before.manager)
        self.delivered.append(report)
        if now is before:
            return False
        self.session = now
        self.applied.append(report)
        self.past.append(now)
        return True

    def check_repetition(self, report: EventReport) -> None:
        """A repeated report changes nothing, however much has happened since."""
        if isinstance(report.event, ev.ServiceSignalled) and (
            self.is_superseded(report.stay) or self.overtook_the_join(report)
        ):
            return
        if isinstance(report.event, ev.RoomListed) and any(service.agent_name for service in self.session.services):
            return  # a second agent of the same name, which it shows, may have replaced the first by then
        if isinstance(report.event, ev.RemovalStarted | ev.RemovalEnded | ev.RoomCreated | ev.RoomRefused):
            return  # each removal has a start and an end of its own, and so has each request for a room
        if report.stay is not None and self.is_of_another_room(report.stay):
            return
        if isinstance(report.event, ev.RoomClosed) and report.event.sid == self.session.room.sid:
            return  # it may have turned out to be wrong before
        if isinstance(report.event, ev.ParticipantSeen) and self.brings_back(report.event.participant):
            return
        late = (ev.ParticipantSeen, ev.ParticipantLeft, ev.ServiceSignalled, ev.RoomListed)
        event = replace(report.event, at=self.now) if isinstance(report.event, late) else report.event
        assert transition(self.session, event) is self.session

    def brings_back(self, seen: ParticipantInfo) -> bool:
        """Whether listings lacked the participant, so that a repeated report of its join counts."""
        return any(
            (one.sid == seen.sid and one.misses > 0) or (one.last is not None and one.last.sid == seen.sid)
            for one in self.session.presences
        )

    def is_of_another_room(self, stay: Stay) -> bool:
        """Whether it is, or was, in another room than the one that the session knows."""
        return stay.room != self.session.room.remakes

    def overtook_the_join(self, report: EventReport) -> bool:
        """The signal was reported before its sender was known to be here, and counted for the participant that was;
        repeated, it may count for another one."""
        return report.stay is not None and self.delivered.index(report) < self.first_seen(report.stay)

    # --- what may be concluded ---

    def reports_of(self, stay: Stay, kind: type[Event]) -> Iterator[tuple[int, Event]]:
        """The events of that kind that were reported of this stay, with their positions in the history."""
        for position, report in enumerate(self.delivered):
            if report.stay is stay and isinstance(report.event, kind):
                yield position, report.event

    def sightings(self, stay: Stay) -> list[tuple[int, ParticipantInfo]]:
        """The reports that this participant is here, with their positions in the history. A listing that arrives after
        a newer one does not count."""
        found: list[tuple[int, ParticipantInfo]] = []
        newest = 0.0
        for position, report in enumerate(self.delivered):
            if isinstance(report.event, ev.ParticipantSeen) and report.stay is stay:
                found.append((position, report.event.participant))
            if isinstance(report.event, ev.RoomListed) and report.event.asked_at >= newest:
                newest = report.event.asked_at
                found += [(position, seen) for seen in report.event.participants if seen.sid == stay.sid]
        return found

    def later_stays(self, stay: Stay) -> list[Stay]:
        """The later stays of the same identity."""
        return [v for v in self.stays[self.stays.index(stay) + 1 :] if v.identity == stay.identity]

    def is_superseded(self, stay: Stay | None) -> bool:
        """Whether a later join of the same identity was reported."""
        return stay is not None and any(map(self.sightings, self.later_stays(stay)))

    def has_left(self, stay: Stay) -> bool:
        """Whether its leave was reported, at any position."""
        return any(self.reports_of(stay, ev.ParticipantLeft))

    def is_missed(self, stay: Stay, after: float) -> bool:
        """Whether enough listings in a row that were requested after that instant did not show this identity, and
        nothing has shown it since."""
        newest, missed = 0.0, list[float]()
        for report in self.delivered:
            event = report.event
            if isinstance(event, ev.ParticipantSeen) and report.stay is stay:
                missed = []
            if not isinstance(event, ev.RoomListed) or event.asked_at <= newest:
                continue
            newest = event.asked_at
            if stay.identity in (*(seen.identity for seen in event.participants), *event.joining):
                missed = []
            elif newest > after:
                missed.append(newest)
        return len(missed) >= MISSES_MAX and missed[-1] >= missed[0] + MISSED_FOR

    def is_here(self, stay: Stay) -> bool:
        """Reported to be here, and not reported in any way to be gone. Of two agents of one name the second is a
        stranger while the first is here, so for agents it is enough that the latest report holds."""
        sightings = self.sightings(stay)
        if self.is_of_another_room(stay):
            return False
        if not sightings or self.has_left(stay) or self.is_superseded(stay):
            return False
        position, _ = sightings[-1 if stay.agent_name else 0]
        return not self.is_missed(stay, self.delivered[position].event.at)

    def first_seen(self, stay: Stay) -> int:
        """The position in the history at which the participant became known to be here. The end of the history if it
        did not: at its first report a newer one of its identity was known already, or its own leave."""
        never = len(self.delivered)
        first = min((position for position, _ in self.sightings(stay)), default=never)
        left_before = any(position < first for position, _ in self.reports_of(stay, ev.ParticipantLeft))
        outdated = any(at < first for newer in self.later_stays(stay) for at, _ in self.sightings(newer))
        return never if left_before or outdated else first

    def was_seen(self, stay: Stay) -> bool:
        return self.first_seen(stay) < len(self.delivered)

    def has_said_ready(self, stay: Stay) -> bool:
        """Whether it signalled ready, and nothing reported since takes that back."""
        signals = [
            (at, signal) for at, signal in self.reports_of(stay, ev.ServiceSignalled) if _says(signal, Signal.READY)
        ]
        return any(self.ready_signal_holds(stay, position, signal) for position, signal in signals)

    def ready_signal_holds(self, stay: Stay, said_at: int, signal: Event) -> bool:
        """The signal counts for the participant seen next under that identity, unless its sender is known."""
        successors = [v for v in self.stays if v.identity == stay.identity and self.first_seen(v) > said_at]
        if not self.was_seen(stay) and any(map(self.was_seen, successors)):
            stay = min(successors, key=self.first_seen)
        if self.is_superseded(stay) or (self.has_left(stay) and self.sightings(stay)):
            return False
        if self.was_seen(stay):
            return not self.is_missed(stay, self.delivered[self.first_seen(stay)].event.at)
        by_http = isinstance(signal, ev.ServiceSignalled) and signal.evidence is Evidence.HTTP
        return by_http or not self.is_missed(stay, self.delivered[said_at].event.at)

    def has_failed(self, stay: Stay) -> bool:
        """Whether it signalled a failure while known to be here. Of two agents it may have been the stranger."""
        if stay.agent_name:
            return False
        signals = [
            position for position, signal in self.reports_of(stay, ev.ServiceSignalled) if _says(signal, Signal.FAILED)
        ]
        looks = [at for at, seen in self.sightings(stay) if seen.attributes.get("session.state") == "failed"]
        return self.is_here(stay) and any(self.first_seen(stay) <= position for position in signals + looks)

    def may_be_ready(self, entry: int) -> bool:
        service = self.session.services[entry]
        if service.agent_name:
            stays = [stay for stay in self.stays if stay.agent_name]
        else:
            stays = [stay for stay in self.stays if stay.identity == self.attempts[entry][-1]]
        for stay in stays:
            says_so = any(_looks_ready(seen) for _, seen in self.sightings(stay))
            shown = self.is_here(stay) and (service.current.instance.ready_on is ReadyOn.JOIN or says_so)
            if (shown or self.has_said_ready(stay)) and not self.has_failed(stay):
                return True
        return False

    def check_conclusions(self) -> None:
        """Everything that the session concludes may be concluded."""
        session = self.session
        if session.over:
            return
        ready = [entry for entry, service in enumerate(session.services) if service.state is ServiceState.READY]
        for entry in ready:
            assert self.may_be_ready(entry), session.services[entry]
        if session.state in ("ready", "active"):
            assert {entry for entry, service in enumerate(session.services) if not service.optional} <= set(ready)
            assert any(isinstance(report.event, ev.RoomCreated) for report in self.delivered)
        if session.state == "active":
            assert any(self.is_here(stay) for stay in self.stays if stay.identity == USER)
        if session.manager.presence.here:
            assert any(self.is_here(stay) for stay in self.stays if stay.identity == session.manager.identity)
        for stale_participant in session.stale_participants:
            if stale_participant.presence.here:
                assert any(self.is_here(stay) for stay in self.stays if stay.identity == stale_participant.identity)
        assert (session.state == "waiting") <= (session.ready_at is None)
        assert (session.state == "degraded") <= (session.ready_at is not None)

    def check_that_listings_are_enough(self) -> None:
        """After a few listings the session knows which participants are here, whatever was reported before."""
        if self.session.over or not all(self.attempts):
            return
        if self.room_sid is None or self.session.room.sid != self.room_sid:
            return
        for _ in range(MISSES_MAX):
            self.now += SUCCESSOR_MISSED_FOR
            self.list_room()
            self.deliver(len(self.unreported) - 1)
        if USER not in [stay.identity for stay in self.coming()]:
            assert self.session.user_presence.here == (USER in [stay.identity for stay in self.present()])
        for entry, service in enumerate(self.session.services):
            identity = self.attempts[entry][-1]
            if identity is None or service.current.reported_failure or identity in [v.identity for v in self.coming()]:
                continue
            by_http = service.ready_by is Evidence.HTTP and service.timeline.joined is None
            if service.current.lost_with_room:
                continue  # it has not been invited into this room yet
            if any(stay.identity == identity for stay in self.present()):
                assert service.state is ServiceState.READY or (
                    service.state is ServiceState.JOINED and service.current.instance.ready_on is ReadyOn.SIGNAL
                ), service
            elif not by_http:
                assert service.state not in (ServiceState.READY, ServiceState.JOINED), service


def _says(event: Event, what: Signal) -> bool:
    return isinstance(event, ev.ServiceSignalled) and event.signal is what


def _looks_ready(seen: ParticipantInfo) -> bool:
    up = seen.attributes.get("lk.agent.name") and seen.attributes.get("lk.agent.state") != "initializing"
    return bool(up) or seen.attributes.get("session.state") == "ready"
