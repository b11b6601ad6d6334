"""Which changes of registered services a feed sends to its readers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from http_api.access.principals import DEVELOPER
from http_api.models.responses import ServiceView
from http_api.streams.seen_services import FLEETING, SHORT_LEASE, SeenServices
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.leases import Lease
from manager_agent.registry.selection import InstanceStatus
from manager_agent.registry.services import RegisteredService
from tests.unit.sessions import START

pytestmark = pytest.mark.unit


def status(service_id: str, *, load: float | None = 0.1, lease: Lease | None = None) -> InstanceStatus:
    service = RegisteredService(service_id, "ASR", f"http://{service_id}.example/", owner=DEVELOPER.name)
    return InstanceStatus(Instance(service, lease, load=load), InstanceState.HEALTHY, 0)


def ids(services: Sequence[RegisteredService]) -> list[str]:
    return [service.service_id for service in services]


def test_the_feed_sends_services_that_are_new_changed_or_gone() -> None:
    seen, asr, tts = SeenServices(), status("asr"), status("tts")
    assert ids(seen.look([tts, asr], START)) == ["tts", "asr"]
    assert ids(seen.look([tts, asr], START + 1)) == []
    busy = replace(asr, in_flight=1)
    assert ids(seen.look([tts, busy], START + 2)) == ["asr"]
    assert seen.of("asr", DEVELOPER) == ServiceView.of(busy).model_dump_json()
    assert [json.loads(made)["service_id"] for made in seen.all(DEVELOPER)] == ["asr", "tts"]
    assert ids(seen.look([busy], START + 3)) == ["tts"]
    assert seen.of("tts", DEVELOPER) is None


@pytest.mark.parametrize(
    "change",
    [{"state": InstanceState.DRAINING}, {"in_flight": 1}, {"instance": status("asr", load=None).instance}],
)
def test_a_changed_service_is_sent_at_the_next_look(change: dict[str, object]) -> None:
    seen = SeenServices()
    seen.look([status("asr")], START)
    assert ids(seen.look([replace(status("asr"), **change)], START + 1)) == ["asr"]  # type: ignore[arg-type]


def test_load_and_lease_are_sent_at_intervals_and_with_other_changes() -> None:
    """As they are then."""
    seen, told = SeenServices(), dict[int, float]()
    for second in range(12):
        now = status("asr", load=second / 100, lease=Lease(30.0, START + second))
        if second == 7:
            now = replace(now, state=InstanceState.DRAINING)
        if seen.look([now], START + second):
            told[second] = json.loads(seen.of("asr", DEVELOPER) or "")["load"]
    assert told == {second: second / 100 for second in (0, 5, 7, 8)}


def test_a_renewed_lease_is_sent_before_the_last_sent_one_is_over() -> None:
    for seconds in (1.0, SHORT_LEASE - 0.1, SHORT_LEASE, 30.0):
        seen, renewed, ends = SeenServices(), START, START
        for second in range(40):
            while renewed + seconds * 0.9 <= START + second:
                renewed += seconds * 0.9
            if seen.look([status("asr", lease=Lease(seconds, renewed))], START + second):
                ends = renewed + seconds
            assert START + second < ends or seconds < 2, f"a lease of {seconds} s"
    assert SHORT_LEASE >= 2 * FLEETING
