"""One instance as values: which of two records of it is older, whether it is reliable, and how loaded it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manager_agent.registry.instances import Instance, registered
from tests.unit.registries import asr

pytestmark = pytest.mark.unit

SERVICE = asr(registered_at=100.0)
MINE = Instance(SERVICE)


@pytest.mark.parametrize(
    ("mine", "saved", "is_older"),
    [
        (MINE, MINE, False),
        (MINE, replace(MINE, load=0.5), False),
        (MINE, Instance(replace(SERVICE, registered_at=101.0)), True),
        (MINE, Instance(replace(SERVICE, registered_at=99.0)), False),
        (MINE, replace(MINE, draining=True), True),
        (replace(MINE, draining=True), replace(MINE, draining=True), False),
        (replace(MINE, draining=True), MINE, False),
        # it was registered anew since, at another address
        (MINE, Instance(asr(endpoint="http://other.example/", registered_at=100.0), draining=True), False),
        (MINE, Instance(replace(SERVICE, registered_at=101.0), draining=True), True),
        (Instance(replace(SERVICE, static=True)), Instance(replace(SERVICE, registered_at=101.0)), False),
    ],
)
def test_a_record_is_older_than_a_later_registration_or_drain(mine: Instance, saved: Instance, is_older: bool) -> None:
    assert mine.is_older_than(saved) is is_older


def test_an_instance_is_reliable_until_its_lease_has_expired() -> None:
    leased = registered(asr(lease_seconds=30.0), None, 1_000.0)
    assert leased.lease is not None
    assert leased.is_reliable(leased.lease.over_at - 1)
    assert not leased.is_reliable(leased.lease.over_at)
    assert not replace(leased, draining=True).is_reliable(1_000.0)
    assert not replace(leased, no_worker_at=1_000.0).is_reliable(1_000.0)


def test_sessions_since_the_last_report_are_added_to_the_reported_load() -> None:
    reported = Instance(asr(capacity=4)).after_heartbeat(0.0, load=0.75, draining=None, in_flight=2)
    assert reported.load_score(2) == (0.75, 0.5)
    assert reported.load_score(3) == (1.0, 0.75)
    assert reported.load_score(1) == (0.75, 0.25)


def test_a_heartbeat_changes_only_what_it_says() -> None:
    reported = Instance(asr(capacity=4)).after_heartbeat(0.0, load=0.75, draining=True, in_flight=2)
    silent = reported.after_heartbeat(1.0, load=None, draining=None, in_flight=4)
    assert (silent.load, silent.in_flight_at_report, silent.draining) == (0.75, 2, True)
    assert not silent.after_heartbeat(2.0, load=None, draining=False, in_flight=4).draining
