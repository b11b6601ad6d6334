"""A small world around one session: what is true in it, what has been told of it, and what may be believed.

The truth (who came and went, what was said and when) is kept apart from the tales that the session is told, in
any order, twice or never. What may be believed follows from the tales alone and is worked out here slowly and
from the whole history, without a line of the code under test.

What is said comes with an identity only, not with the participant's sid. So two things are as the session has to
take them: what was said before a join is known counts for whoever of that identity is told to have joined next,
and nothing that was said is told after the speaker's successor is known. Every tale of a join tells LiveKit's
instant of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from manager_agent.session import events as ev
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
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
from manager_agent.session.session import ReadyOn, RequiredService, ServiceState
from manager_agent.session.transitions import apply
from tests.unit.sessions import START, a_session

USER = "alice"
TICK = 0.001


@dataclass(eq=False)
class Visit:
    """One participant's stay in the room: what is true of it."""

    identity: str
    sid: str
    joined_ms: int
    agent_name: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    on_its_way: bool = False
    here: bool = True

    @property
    def is_service(self) -> bool:
        return self.identity != USER and not self.identity.startswith("sm-manager")

    def seen(self) -> ParticipantInfo:
        return ParticipantInfo(self.identity, self.sid, self.joined_ms, self.identity != USER, dict(self.attributes))


@dataclass(frozen=True)
class Tale:
    """Something to tell the session, and who it is about."""

    event: Event
    visit: Visit | None = None


class World:
    def __init__(self, services: tuple[RequiredService, ...]) -> None:
        self.session = a_session(*services)
        self.now = START
        self.visits: list[Visit] = []
        self.attempts: list[list[str | None]] = [[] for _ in services]
        """The identity of each attempt of each entry, in order."""
        self.dispatched: list[str] = []
        self.untold: list[Tale] = []
        self.told: list[Tale] = []
        self.taken_in: list[Tale] = []
        """Those of the told that changed something."""
        self.past = [self.session]

    # --- the truth ---

    def present(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.here and not visit.on_its_way]

    def coming(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.here and visit.on_its_way]

    def comes(self, identity: str, agent_name: str | None = None, *, on_its_way: bool = False) -> Visit:
        """A newcomer takes the place of whoever has its identity."""
        for visit in self.visits:
            if visit.here and visit.identity == identity:
                self.goes(visit)
        self.now += TICK
        attributes = {"lk.agent.name": agent_name, "lk.agent.state": "initializing"} if agent_name else {}
        joined_ms = round((self.now - START) * 1000)
        visit = Visit(identity, f"PA_{len(self.visits) + 1}", joined_ms, agent_name, attributes, on_its_way)
        self.visits.append(visit)
        if not on_its_way:
            self.arrives(visit)
        return visit

    def arrives(self, visit: Visit) -> None:
        visit.on_its_way = False
        self.untold.append(Tale(ev.ParticipantSeen(self.now, visit.seen()), visit))

    def goes(self, visit: Visit) -> None:
        """Who was still on the way was not there; LiveKit tells that a connection was aborted."""
        visit.here = False
        left = ev.ParticipantLeft(self.now, visit.identity, visit.sid, aborted=visit.on_its_way)
        self.untold.append(Tale(left, visit))

    def says(self, visit: Visit, signal: Signal, how: Evidence) -> None:
        """In the room only who is there; by HTTP also who is still on its way, or has left already."""
        here = visit in self.present()
        if how is Evidence.ATTRIBUTE and here:
            visit.attributes |= {"lk.agent.state": "idle"} if visit.agent_name else {"session.state": signal}
            self.untold.append(Tale(ev.ParticipantSeen(self.now, visit.seen()), visit))
        elif here if how is Evidence.MESSAGE else (how is Evidence.HTTP and not visit.agent_name):
            self.untold.append(Tale(ev.ServiceSignalled(self.now, visit.identity, signal, how), visit))

    def is_listed(self) -> None:
        """As the room is now; asked a moment before it is answered."""
        asked_at = self.now
        self.now += TICK
        here = tuple(visit.seen() for visit in self.present())
        joining = tuple(visit.identity for visit in self.coming())
        self.untold.append(Tale(ev.RoomListed(asked_at, asked_at, here, joining)))
        self.now += TICK

    # --- our own part ---

    def does_what_is_due(self) -> None:
        """What the plan asks for is recorded; its outcome will be told."""
        for action in plan(self.session, self.now).actions:
            match action:
                case CreateRoom():
                    self.record(ev.RoomRequested(self.now))
                    self.dispatches(1)
                    self.untold.append(Tale(ev.RoomCreated(self.now, "RM_1")))
                case DispatchManager(attempt):
                    self.dispatches(attempt)
                case SendInvite(entry, attempt, tries):
                    self.invites(entry, attempt, tries)
                case Replace(entry, attempt):
                    self.invites(entry, attempt + 1, 1)
                case Remove(identity):
                    if self.record(ev.RemovalStarted(self.now, identity)):
                        self.removes(identity)
                case ListRoom():
                    if self.record(ev.ListingStarted(self.now)):
                        self.is_listed()
                case CheckDeadline():
                    self.record(ev.DeadlinePassed(self.now))
                case CleanUp():
                    self.record(ev.CleanUpStarted(self.now))
                    self.untold.append(Tale(ev.CleanedUp(self.now)))

    def removes(self, identity: str) -> None:
        for visit in self.present():
            if visit.identity == identity:
                self.goes(visit)
        self.untold.append(Tale(ev.RemovalEnded(self.now, identity, removed=True)))

    def dispatches(self, attempt: int) -> None:
        self.dispatched.append(f"sm-manager-{attempt}")
        self.record(ev.ManagerDispatched(self.now, attempt, self.dispatched[-1]))

    def invites(self, entry: int, attempt: int, tries: int) -> None:
        identity = None if self.session.services[entry].agent_name else f"sm-{entry}-{attempt}"
        started = ev.InviteStarted(self.now, entry, attempt, tries, identity, f"inv_{entry}_{attempt}")
        if self.record(started) and tries == 1:
            self.attempts[entry].append(identity)

    def replaces(self, entry: int) -> None:
        """Invites the next attempt; who came for the last one may still be there, and talk."""
        service = self.session.services[entry]
        if service.agent_name is None and not service.current.in_flight:
            self.invites(entry, service.attempt + 1, 1)

    def holds(self, entry: int) -> None:
        """There is nobody who could be invited instead."""
        self.record(ev.ReplacementHeld(self.now, entry, self.session.services[entry].attempt, self.now + 1.0))

    def answers(self, entry: int, refusal: Refusal | None, *, final: bool) -> None:
        service = self.session.services[entry]
        key = (self.now, entry, service.attempt, service.current.tries)
        self.untold.append(Tale(ev.InviteRefused(*key, refusal, final) if refusal else ev.InviteAccepted(*key)))

    # --- telling ---

    def tell(self, which: int, *, and_again: bool = False) -> None:
        tale = self.untold[which] if and_again else self.untold.pop(which)
        if isinstance(tale.event, ev.ServiceSignalled) and self.is_superseded(tale.visit):
            return
        self.now += TICK
        self.take_in(replace(tale, event=replace(tale.event, at=self.now)))

    def record(self, event: Event) -> bool:
        """What we do ourselves is recorded at once. Whether it changed anything, so that it may be done."""
        return self.take_in(Tale(event))

    def take_in(self, tale: Tale) -> bool:
        """The laws for every event, whatever has been told before. Whether it changed anything."""
        before, now = self.session, apply(self.session, tale.event)
        assert apply(now, tale.event) is now, "taken in twice, it changed something the second time"
        assert (now is before) == (now == before)
        assert now.revision in (before.revision, before.revision + 1)
        assert now.revision > before.revision or now.state is before.state
        assert before.ready_at is None or now.ready_at == before.ready_at
        if before.end is not None:
            assert now.end is not None, "an end is final"
            assert (now.end.reason, now.end.at) == (before.end.reason, before.end.at)
            assert (now.state, now.services, now.manager) == (before.state, before.services, before.manager)
        self.told.append(tale)
        if now is before:
            return False
        self.session = now
        self.taken_in.append(tale)
        self.past.append(now)
        return True

    def changes_nothing(self, tale: Tale) -> None:
        """Told once more, however much has happened since."""
        if isinstance(tale.event, ev.ServiceSignalled) and (
            self.is_superseded(tale.visit) or self.overtook_the_join(tale)
        ):
            return
        if isinstance(tale.event, ev.RoomListed) and any(service.agent_name for service in self.session.services):
            return  # a second agent of the same name, which it shows, may take the place of the first by then
        if isinstance(tale.event, ev.RemovalStarted | ev.RemovalEnded):
            return  # each removal has a start and an end of its own
        late = (ev.ParticipantSeen, ev.ParticipantLeft, ev.ServiceSignalled, ev.RoomListed)
        event = replace(tale.event, at=self.now) if isinstance(tale.event, late) else tale.event
        assert apply(self.session, event) is self.session

    def overtook_the_join(self, tale: Tale) -> bool:
        """It was told before the speaker was known to be here, and taken for whoever was; said again it may count
        for somebody else."""
        return tale.visit is not None and self.told.index(tale) < self.first_seen(tale.visit)

    # --- what may be believed ---

    def tales_of(self, visit: Visit, kind: type[Event]) -> Iterator[tuple[int, Event]]:
        """Where in the history which events of that kind were told of this visit."""
        for position, tale in enumerate(self.told):
            if tale.visit is visit and isinstance(tale.event, kind):
                yield position, tale.event

    def sightings(self, visit: Visit) -> list[tuple[int, ParticipantInfo]]:
        """Where it was told that this visitor is here, and how he was seen. A listing that comes after a newer
        one is old news."""
        found: list[tuple[int, ParticipantInfo]] = []
        newest = 0.0
        for position, tale in enumerate(self.told):
            if isinstance(tale.event, ev.ParticipantSeen) and tale.visit is visit:
                found.append((position, tale.event.participant))
            if isinstance(tale.event, ev.RoomListed) and tale.event.asked_at >= newest:
                newest = tale.event.asked_at
                found += [(position, seen) for seen in tale.event.participants if seen.sid == visit.sid]
        return found

    def later_visits(self, visit: Visit) -> list[Visit]:
        """Of the same identity."""
        return [v for v in self.visits[self.visits.index(visit) + 1 :] if v.identity == visit.identity]

    def is_superseded(self, visit: Visit | None) -> bool:
        """Whether a later join of the same identity has been told."""
        return visit is not None and any(map(self.sightings, self.later_visits(visit)))

    def has_left(self, visit: Visit) -> bool:
        """Whether it was told that he left, sooner or later."""
        return any(self.tales_of(visit, ev.ParticipantLeft))

    def is_missed(self, visit: Visit, after: float) -> bool:
        """Whether a listing that was asked for after that instant did not show this identity."""
        newest = 0.0
        for tale in self.told:
            listing = tale.event
            if isinstance(listing, ev.RoomListed) and listing.asked_at >= newest:
                newest = listing.asked_at
                shown = [*(seen.identity for seen in listing.participants), *listing.joining]
                if listing.asked_at > after and visit.identity not in shown:
                    return True
        return False

    def is_here(self, visit: Visit) -> bool:
        """Told to be here, and not told in any way to be here no more. Of two agents of one name the second is a
        stranger while the first is here, so of agents it is enough that the latest tale holds."""
        sightings = self.sightings(visit)
        if not sightings or self.has_left(visit) or self.is_superseded(visit):
            return False
        position, _ = sightings[-1 if visit.agent_name else 0]
        return not self.is_missed(visit, self.told[position].event.at)

    def first_seen(self, visit: Visit) -> int:
        """Where in the history he became known to be here; its end if he did not: when he was first told of,
        somebody newer of his identity was known already, or that he had left."""
        never = len(self.told)
        first = min((position for position, _ in self.sightings(visit)), default=never)
        left_before = any(position < first for position, _ in self.tales_of(visit, ev.ParticipantLeft))
        outdated = any(at < first for newer in self.later_visits(visit) for at, _ in self.sightings(newer))
        return never if left_before or outdated else first

    def was_seen(self, visit: Visit) -> bool:
        return self.first_seen(visit) < len(self.told)

    def vouches(self, visit: Visit) -> bool:
        """He said that he is ready, and nothing told since takes that back."""
        words = [
            (at, signal) for at, signal in self.tales_of(visit, ev.ServiceSignalled) if _says(signal, Signal.READY)
        ]
        return any(self.word_holds(visit, position, signal) for position, signal in words)

    def word_holds(self, visit: Visit, said_at: int, signal: Event) -> bool:
        """What was said counts for who is seen next under that identity, unless the speaker is known himself."""
        heirs = [v for v in self.visits if v.identity == visit.identity and self.first_seen(v) > said_at]
        if not self.was_seen(visit) and any(map(self.was_seen, heirs)):
            visit = min(heirs, key=self.first_seen)
        if self.is_superseded(visit) or (self.has_left(visit) and self.sightings(visit)):
            return False
        if self.was_seen(visit):
            return not self.is_missed(visit, self.told[self.first_seen(visit)].event.at)
        by_http = isinstance(signal, ev.ServiceSignalled) and signal.evidence is Evidence.HTTP
        return by_http or not self.is_missed(visit, self.told[said_at].event.at)

    def has_failed(self, visit: Visit) -> bool:
        """While he was known to be here he said that he has failed. Of two agents it may have been the stranger."""
        if visit.agent_name:
            return False
        words = [
            position for position, signal in self.tales_of(visit, ev.ServiceSignalled) if _says(signal, Signal.FAILED)
        ]
        looks = [at for at, seen in self.sightings(visit) if seen.attributes.get("session.state") == "failed"]
        return self.is_here(visit) and any(self.first_seen(visit) <= position for position in words + looks)

    def may_be_ready(self, entry: int) -> bool:
        service = self.session.services[entry]
        if service.agent_name:
            visits = [visit for visit in self.visits if visit.agent_name]
        else:
            visits = [visit for visit in self.visits if visit.identity == self.attempts[entry][-1]]
        for visit in visits:
            says_so = any(_looks_ready(seen) for _, seen in self.sightings(visit))
            shown = self.is_here(visit) and (service.current.instance.ready_on is ReadyOn.JOIN or says_so)
            if (shown or self.vouches(visit)) and not self.has_failed(visit):
                return True
        return False

    def check_beliefs(self) -> None:
        """Whatever the session holds to be so may be believed."""
        session = self.session
        if session.over:
            return
        ready = [entry for entry, service in enumerate(session.services) if service.state is ServiceState.READY]
        for entry in ready:
            assert self.may_be_ready(entry), session.services[entry]
        if session.state in ("ready", "active"):
            assert {entry for entry, service in enumerate(session.services) if not service.optional} <= set(ready)
            assert any(isinstance(tale.event, ev.RoomCreated) for tale in self.told)
        if session.state == "active":
            assert any(self.is_here(visit) for visit in self.visits if visit.identity == USER)
        if session.manager.presence.here:
            assert any(self.is_here(visit) for visit in self.visits if visit.identity == session.manager.identity)
        for stale_participant in session.stale_participants:
            if stale_participant.presence.here:
                assert any(self.is_here(visit) for visit in self.visits if visit.identity == stale_participant.identity)
        assert (session.state == "waiting") <= (session.ready_at is None)
        assert (session.state == "degraded") <= (session.ready_at is not None)

    def check_that_one_look_is_enough(self) -> None:
        """One listing, and the session knows who is here, whatever it was told before."""
        if self.session.over or not all(self.attempts):
            return
        self.now += 1.0
        self.is_listed()
        self.tell(len(self.untold) - 1)
        if USER not in [visit.identity for visit in self.coming()]:
            assert self.session.user_presence.here == (USER in [visit.identity for visit in self.present()])
        for entry, service in enumerate(self.session.services):
            identity = self.attempts[entry][-1]
            if identity is None or service.current.reported_failure or identity in [v.identity for v in self.coming()]:
                continue
            by_http = service.ready_by is Evidence.HTTP and service.timeline.joined is None
            if any(visit.identity == identity for visit in self.present()):
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
