"""How long a replica may act, and who is dead."""

from __future__ import annotations

import random

import pytest

from manager_agent.replicas.lease import GUARD, LEASE, ReplicaInfo, ReplicaLease, Roll, changes


def alive(*ids: str, draining: tuple[str, ...] = ()) -> dict[str, ReplicaInfo]:
    return {one: ReplicaInfo(one, is_draining=one in draining) for one in ids}


def held(at: float = 100.0) -> ReplicaLease:
    """Renewed at that instant, by a replica that knows what others did."""
    return ReplicaLease().renewed(at, at).informed(at)


def test_a_replica_acts_once_its_lease_is_renewed_and_it_knows_what_others_did() -> None:
    assert not ReplicaLease().may_act(0.0)
    renewed = ReplicaLease().renewed(100.0, 100.1)
    assert not renewed.may_act(100.1)
    assert renewed.informed(100.1).may_act(100.2)


def test_what_was_asked_before_the_lease_was_renewed_does_not_count() -> None:
    """A session may have been taken over between the question and the renewal."""
    assert not ReplicaLease().informed(99.0).renewed(100.0, 100.1).may_act(100.2)
    assert not ReplicaLease().renewed(100.0, 100.1).informed(100.05).may_act(100.2)


def test_a_lease_counts_from_when_its_renewal_was_sent() -> None:
    lease = ReplicaLease().renewed(100.0, 102.0).informed(102.0)
    assert lease.may_act(100.0 + LEASE - GUARD - 0.01)
    assert not lease.may_act(100.0 + LEASE - GUARD)


def test_a_replica_that_was_frozen_acts_again_only_once_it_is_informed() -> None:
    lease = held(100.0)
    assert not lease.may_act(130.0)
    again = lease.renewed(130.0, 130.1)
    assert not again.may_act(130.2)
    assert not again.renewed(131.0, 131.1).may_act(131.2)  # another renewal does not inform it
    assert again.renewed(131.0, 131.1).informed(130.1).may_act(131.2)


def test_a_renewal_in_time_keeps_a_replica_acting() -> None:
    lease = held(100.0)
    for now in range(101, 200):
        lease = lease.renewed(now, now + 0.2)
        assert lease.may_act(now + 1.2)


def test_an_answer_that_comes_after_the_lease_has_lapsed_is_a_new_beginning() -> None:
    assert not held(100.0).renewed(104.0, 100.0 + LEASE).may_act(100.0 + LEASE)


def test_answers_out_of_order_do_not_shorten_a_lease() -> None:
    assert held(100.0).renewed(103.0, 103.1).renewed(102.0, 103.2).renewed_at == 103.0


def test_a_replica_that_has_ended_does_not_act() -> None:
    assert not held(100.0).ended().may_act(100.0)


@pytest.mark.parametrize("seed", range(200))
def test_the_holder_never_acts_after_redis_lets_others_take_over(seed: int) -> None:
    """Redis' lease begins when it carries the renewal out, which is after it was sent. Whatever is lost, slow or
    frozen: when the lease in Redis has lapsed, the replica does not act."""
    chance, lease, redis_ends, now, acted = random.Random(seed), ReplicaLease(), -1.0, 0.0, 0
    for _ in range(200):
        sent = now
        now += chance.choice([0.001, 0.2, 1.5])
        is_lost, answer_lost = chance.random() < 0.2, chance.random() < 0.2
        if not is_lost:
            redis_ends = now + LEASE
            now += chance.choice([0.001, 0.2, 1.5])
            if not answer_lost:
                lease = lease.renewed(sent, now)
                if chance.random() < 0.7:
                    lease = lease.informed(now)
        now += chance.choice([0.5, 1.0, 1.0, 1.0, 7.0, 30.0])
        for later in (0.0, 1.0, 3.0, LEASE):
            acted += lease.may_act(now + later)
            assert not (lease.may_act(now + later) and now + later >= redis_ends)
    assert acted > 0


def test_who_is_dead() -> None:
    roll = Roll(alive("a", "b"), frozenset({"c"}))
    assert [roll.is_dead(one) for one in ("a", "b", "c", "unknown", "")] == [False, False, True, True, True]


def test_after_redis_was_away_only_those_that_said_so_are_dead() -> None:
    roll = Roll(alive("a"), frozenset({"c"}), grace=3.0)
    assert [roll.is_dead(one) for one in ("a", "c", "unknown", "")] == [False, True, False, False]


def test_those_that_drain_take_nothing_unless_all_do() -> None:
    assert [one.replica_id for one in Roll(alive("b", "a", draining=("a",))).takers] == ["b"]
    assert [one.replica_id for one in Roll(alive("b", "a", draining=("a", "b"))).takers] == ["a", "b"]


def test_those_whose_managers_can_not_join_take_only_what_no_other_can() -> None:
    absent = ReplicaInfo("b", can_take=False)
    assert [one.replica_id for one in Roll({**alive("a"), "b": absent}).takers] == ["a"]
    assert [one.replica_id for one in Roll({**alive("a", draining=("a",)), "b": absent}).takers] == ["b"]


def test_what_became_of_others_is_told_once() -> None:
    before, after = Roll(alive("a", "b", "c")), Roll(alive("a", "d"), left=frozenset({"b"}))
    told = [(what, one.replica_id) for what, one in changes(before, after)]
    assert told == [("joined", "d"), ("left", "b"), ("lapsed", "c")]
    assert list(changes(after, after)) == []


def test_a_lease_that_lapsed_while_redis_was_away_is_told_of_only_if_it_stays_so() -> None:
    before = Roll(alive("a", "b", "c"))
    just_back = Roll(alive("a"), grace=5.0).after(before)
    assert sorted(just_back.awaited) == ["b", "c"]
    assert list(changes(before, just_back)) == []
    renewed = Roll(alive("a", "b"), grace=4.0).after(just_back)
    assert list(changes(just_back, renewed)) == []
    over = Roll(alive("a", "b")).after(renewed)
    assert [(what, one.replica_id) for what, one in changes(renewed, over)] == [("lapsed", "c")]
    assert list(changes(over, Roll(alive("a", "b")).after(over))) == []
