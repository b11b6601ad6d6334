"""A simulation that can't fail is worthless: each broken rule is found out, in a short history."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from manager_agent.replicas.lease import ReplicaLease, Roll
from manager_agent.session import events as ev
from manager_agent.session import overlooked, transitions
from manager_agent.session.attempt import ServiceState
from manager_agent.session.session import Session
from tests.simulation.history import FaultKind, History, PlannedSession, SimulatedFault
from tests.simulation.invariants import Invariant
from tests.simulation.protocol_rules import RULES
from tests.simulation.world import World

pytestmark = pytest.mark.unit

LAST_SEED = 20
Break = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class BrokenRule:
    """A rule that is broken, what is violated then, and faults that bring it to light."""

    name: str
    broken: Break
    invariants: Collection[Invariant]
    faults: tuple[tuple[FaultKind, float, float], ...] = ()
    """Each with its instant and how long it lasts, both of which vary by a fifth with the seed."""
    sessions: int = 40
    within: float = 10.0
    """Seconds in which all of them are asked for."""
    nodes: int = 3
    instances: int = 0
    everywhere: bool = False
    """Whether the faults happen to all replicas."""
    first_seed: int = 1
    """From which on histories are tried. Which one brings it to light is chance."""

    def histories(self) -> Iterator[History]:
        for seed in range(self.first_seed, LAST_SEED + 1):
            chances = History(seed, 0, ()).chances(self.name)
            sessions = tuple(PlannedSession(chances.uniform(0, self.within), nth) for nth in range(self.sessions))
            faults = tuple(
                SimulatedFault(at * chances.uniform(0.9, 1.1), kind, target, seconds * chances.uniform(0.9, 1.1))
                for kind, at, seconds in self.faults
                for target in (range(self.nodes) if self.everywhere else (0,))
            )
            yield History(seed, self.nodes, sessions, faults, self.instances)


def rule(name: str, value: Any = False) -> Break:
    """Break a rule of the protocol."""
    return lambda monkeypatch: monkeypatch.setattr(type(RULES), name, value)


def any_service_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_ready(session: Session) -> bool:
        return any(service.state is ServiceState.READY for service in session.services)

    monkeypatch.setattr(Session, "all_ready", property(all_ready))


def counts_on_a_longer_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica acts for some seconds longer than the others know."""
    monkeypatch.setattr(ReplicaLease, "ends_at", property(lambda self: self.renewed_at + self.seconds + 4.0))


def acts_without_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplicaLease, "may_act", lambda self, now: self.is_informed)


def judges_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that was not heard of is dead, also if Redis was away meanwhile, and it need not be known what others
    did."""
    monkeypatch.setattr(Roll, "is_dead", lambda self, replica_id: replica_id not in self.alive)
    monkeypatch.setattr(ReplicaLease, "may_act", lambda self, now: self.is_held(now))
    rule("takes_only_from_the_dead")(monkeypatch)


def forgets_what_was_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next owner of a session believes that what was begun goes on."""
    table = dict(transitions._TRANSITIONS)
    table[ev.Interrupted] = lambda session, event: session
    monkeypatch.setattr(transitions, "_TRANSITIONS", table)


KILL, FREEZE, SLOW = FaultKind.KILL, FaultKind.FREEZE, FaultKind.REDIS_SLOW
BROKEN = [
    BrokenRule("any service is enough", any_service_is_enough, {Invariant.EARLY_TOKEN}),
    BrokenRule(
        "a token of what was read before",
        rule("reads_what_is_newest"),
        {Invariant.STALE_TOKEN},
        ((FaultKind.CUT_FROM_REDIS, 15.0, 20.0),),
        sessions=80,
        first_seed=2,
    ),
    BrokenRule(
        "acknowledged without a room",
        rule("room_is_awaited"),
        {Invariant.LOST_SESSION},
        ((FaultKind.LIVEKIT_AWAY, 5.0, 10.0),),
    ),
    BrokenRule(
        "a claim ends before the response is kept",
        rule("claims_until_kept"),
        {Invariant.EXECUTED_TWICE},
        ((SLOW, 4.0, 12.0),),
        sessions=80,
        within=15.0,
    ),
    BrokenRule(
        "added without the claim",
        rule("adds_only_under_a_claim"),
        {Invariant.EXECUTED_TWICE},
        ((SLOW, 4.0, 4.0), (FREEZE, 6.0, 20.0)),
        sessions=80,
    ),
    BrokenRule(
        "no room is recovered",
        rule("recovers_rooms"),
        {Invariant.LOST_SESSION},
        ((FaultKind.REDIS_EMPTY, 12.0, 5.0), (KILL, 13.0, 2.0)),
        everywhere=True,
    ),
    BrokenRule(
        "a lease that is longer than in Redis",
        counts_on_a_longer_lease,
        {Invariant.TWO_OWNERS},
        ((SLOW, 4.0, 4.0), (FREEZE, 6.0, 8.0)),
        sessions=80,
        first_seed=3,
    ),
    BrokenRule(
        "no lease",
        acts_without_a_lease,
        {Invariant.TWO_OWNERS},
        ((SLOW, 4.0, 4.0), (FREEZE, 6.0, 20.0)),
        sessions=80,
        first_seed=4,
    ),
    BrokenRule(
        "dead because Redis was away",
        judges_without_waiting,
        {Invariant.NEEDLESS_TAKE_OVER},
        ((FaultKind.REDIS_RESTART, 20.0, 9.0),),
        within=20.0,
    ),
    BrokenRule(
        "a set without a compare",
        rule("may_swap", lambda self, known, expected: True),
        {Invariant.LOST_SESSION, Invariant.CALLBACK_LOST, Invariant.CALLBACK_ORDER},
    ),
    BrokenRule(
        "handed over while it acts",
        rule("stops_before_hand_over"),
        {Invariant.TWO_OWNERS},
        ((SLOW, 4.0, 20.0), (FaultKind.DRAIN, 7.0, 1.0)),
        sessions=80,
        nodes=2,
    ),
    BrokenRule("nothing is taken over", rule("takes_over"), {Invariant.LATE_TAKE_OVER}, ((KILL, 10.0, 3.0),)),
    BrokenRule(
        "capacity is not reserved in Redis",
        rule("capacity_is_checked_in_redis"),
        {Invariant.OVER_CAPACITY},
        sessions=55,
        within=0.5,
        instances=1,
    ),
    BrokenRule(
        "callbacks are not in the outbox",
        rule("callbacks_are_in_the_outbox"),
        {Invariant.CALLBACK_LOST},
        ((KILL, 8.0, 3.0),),
    ),
    BrokenRule(
        "what was begun is forgotten",
        forgets_what_was_begun,
        {Invariant.ROOM_LEFT, Invariant.LOST_SESSION},
        ((SLOW, 4.0, 6.0), (KILL, 8.0, 3.0)),
        sessions=80,
        first_seed=3,
    ),
    BrokenRule(
        "nothing is put back",
        rule("puts_back"),
        {Invariant.CALLBACK_LOST},
        ((SLOW, 4.0, 8.0), (FaultKind.REDIS_EMPTY, 7.0, 2.0)),
        sessions=80,
        first_seed=2,
    ),
    BrokenRule(
        "callbacks are not put back",
        rule("puts_callbacks_back"),
        {Invariant.CALLBACK_LOST},
        ((SLOW, 4.0, 8.0), (FaultKind.REDIS_EMPTY, 7.0, 2.0)),
        sessions=80,
    ),
    BrokenRule(
        "callbacks of lost writes are not put back",
        rule("puts_callbacks_back"),
        {Invariant.CALLBACK_LOST},
        ((SLOW, 4.0, 8.0), (FaultKind.REDIS_ROLLBACK, 7.0, 2.0)),
        sessions=80,
        first_seed=2,
    ),
    BrokenRule(
        "told again if Redis does not know it",
        rule("remembers_what_it_told"),
        {Invariant.CALLBACK_TWICE},
        ((SLOW, 4.0, 8.0), (FaultKind.REDIS_EMPTY, 7.0, 2.0)),
        sessions=80,
    ),
    BrokenRule(
        "no room is moved from a dead node",
        rule("moves_rooms"),
        {Invariant.NO_MANAGER},
        ((FaultKind.LIVEKIT_NODE_KILL, 12.0, 1.0),),
        sessions=80,
    ),
    BrokenRule(
        "a room that no node has stays",
        rule("takes_up_rooms"),
        {Invariant.ROOM_LEFT},
        ((FaultKind.LIVEKIT_REDIS_RESTART, 20.0, 20.0),),
        within=15.0,
    ),
    BrokenRule(
        "managers need not see those in their rooms",
        lambda monkeypatch: monkeypatch.setattr(overlooked, "OVERLOOKED_AFTER", math.inf),
        {Invariant.APART},
        ((FaultKind.LIVEKIT_REDIS_RESTART, 8.0, 12.0),),
        within=15.0,
    ),
    BrokenRule("owned and not attended", rule("begins_what_it_gains"), {Invariant.NO_END}, ((KILL, 10.0, 3.0),)),
]


@pytest.mark.parametrize("one", BROKEN, ids=lambda one: one.name)
def test_a_broken_rule_is_found(one: BrokenRule, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(one.histories())
    assert World(first).run().violations == (), "the history is harmless as long as the rule holds"
    one.broken(monkeypatch)
    found = set[Invariant]()
    for history in one.histories():
        found |= {violation.invariant for violation in World(history).run().violations}
        if found & set(one.invariants):
            return
    pytest.fail(f"not found; other violations: {found}")


def test_every_invariant_can_be_violated() -> None:
    assert set(Invariant) == {invariant for one in BROKEN for invariant in one.invariants}
