"""Whether late instances are at fault or this server is, in virtual time; and what is remembered to decide it."""

from __future__ import annotations

import pytest

from manager_agent.control.late_join_policy import (
    LATE_BURST,
    LATE_INTERVAL,
    LATE_REPORT_MAX,
    REMEMBERED,
    LateJoinPolicy,
    Latest,
)
from manager_agent.session.attempt import InstanceRef

pytestmark = pytest.mark.unit

NOW = 1_000.0
X, Y = (InstanceRef(name, f"http://{name}.example/", None) for name in ("x", "y"))


def given_up(late_join_policy: LateJoinPolicy, seconds: int = 10) -> list[float]:
    """When the attempts of X are given up, while more and more of them are late."""
    tenths = [NOW + n / 10 for n in range(seconds * 10)]
    return [at for at in tenths if late_join_policy.gives_up(X, NOW, at)]


def test_without_any_joins_a_few_attempts_are_given_up_and_then_one_a_second() -> None:
    at = given_up(LateJoinPolicy())
    assert len(at) == pytest.approx(LATE_BURST + 10 / LATE_INTERVAL, abs=1)
    assert at[LATE_BURST - 1] < NOW + 0.5


def test_attempts_are_given_up_once_another_instance_joins_in_time() -> None:
    late_join_policy = LateJoinPolicy()
    late_join_policy.record_join(Y, NOW + 0.05)
    assert len(given_up(late_join_policy)) == 100


def test_an_earlier_join_of_another_instance_proves_nothing() -> None:
    """This server may have become slow since."""
    late_join_policy = LateJoinPolicy()
    late_join_policy.record_join(Y, NOW - 0.1)
    assert len(given_up(late_join_policy)) < 20


def test_a_join_of_the_late_instance_itself_proves_nothing() -> None:
    late_join_policy = LateJoinPolicy()
    late_join_policy.record_join(X, NOW + 0.05)
    assert len(given_up(late_join_policy)) < 20


def test_a_join_of_an_instance_that_is_late_itself_proves_nothing() -> None:
    late_join_policy = LateJoinPolicy()
    late_join_policy.record_join(Y, NOW + 1)
    late_join_policy.record_late(Y, "inv_1", NOW + 2)
    assert [late_join_policy.gives_up(X, NOW, NOW + 2.1) for _ in range(10)].count(True) == LATE_BURST
    assert all(late_join_policy.gives_up(X, NOW, NOW + 2.1 + LATE_REPORT_MAX) for _ in range(10))


def test_an_instance_is_late_by_its_recent_invites_each_counted_once() -> None:
    late_join_policy = LateJoinPolicy()
    for at in (NOW, NOW + 1):
        late_join_policy.record_late(X, "inv_1", at)
        late_join_policy.record_late(X, f"inv_{at}", at)
    assert (late_join_policy.late_count(X, NOW + 1), late_join_policy.late_count(Y, NOW + 1)) == (3, 0)
    assert late_join_policy.late_count(X, NOW + 0.5 + LATE_REPORT_MAX) == 2
    assert late_join_policy.late_count(X, NOW + 1 + LATE_REPORT_MAX) == 0


def test_the_same_service_id_at_another_endpoint_is_another_instance() -> None:
    late_join_policy = LateJoinPolicy()
    late_join_policy.record_join(InstanceRef("x", "http://moved.example/", None), NOW)
    assert not late_join_policy.has_joined_since(X, NOW - 1)
    late_join_policy.record_join(X, NOW)
    assert late_join_policy.has_joined_since(X, NOW - 1)


def test_instances_that_were_not_seen_for_long_are_forgotten() -> None:
    """Ids and ports may be new at every start. Seeing an instance keeps no other one."""
    latest = Latest[str](REMEMBERED)
    for n in range(10_000):
        latest.record(f"asr-{n}", NOW + n)
        latest.record("asr-0", NOW + n)
        latest.record(f"old-{n}", NOW + n - REMEMBERED - 1)
    assert len(list(latest)) <= REMEMBERED + 1
    assert latest.at("asr-0") == NOW + 9_999
    assert latest.count(NOW + 20_000) == 0
