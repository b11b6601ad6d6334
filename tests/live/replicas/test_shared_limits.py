"""Limits hold over all replicas together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica import ReplicaProcess
from tests.tenants import ACME

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

CAPACITY, ASKED = 40, 100
RATE, BURST, REFUSED = 20, 20, 20
"""Requests a second, at once, and how many each replica refuses before the test is over."""
PATIENT = "tests.live.replicas.patient_manager"


async def test_capacity_is_never_exceeded_through_three_replicas(start_site: StartSite) -> None:
    site = await start_site(replicas=3, module=PATIENT)
    await site.bot("asr", capacity=CAPACITY)

    async def create(number: int) -> tuple[int, dict[str, Any]]:
        replica = site.replicas[number % len(site.replicas)]
        body = {"user_identity": f"user-{number}", "required_services": ["asr"]}
        return await replica.ask("POST", "/sessions", body, Prefer="respond-async")

    answers = await asyncio.gather(*map(create, range(ASKED)))
    assert Counter(status for status, _ in answers) == {202: CAPACITY, 424: ASKED - CAPACITY}
    opened = [view["session_id"] for status, view in answers if status == 202]
    for session_id in opened[:3]:
        await site.replicas[0].end_session(session_id)
    again = await asyncio.gather(*(create(ASKED + number) for number in range(9)))
    assert Counter(status for status, _ in again) == {202: 3, 424: 6}


async def test_rate_limits_hold_over_all_replicas_together(start_site: StartSite) -> None:
    site = await start_site(
        replicas=3,
        is_dev=False,
        module=PATIENT,
        environment={
            "SERVER_HOST": "127.0.0.1",
            "LIVEKIT_API_KEY": "devkey",
            "LIVEKIT_API_SECRET": "secret",
            "API_KEYS": str(ACME.entry),
            "RATE_LIMIT": str(RATE),
            "RATE_LIMIT_BURST": str(BURST),
        },
    )
    passed, refused = 0, Counter[ReplicaProcess]()

    async def ask(replica: ReplicaProcess) -> None:
        nonlocal passed
        while refused[replica] < REFUSED:
            async with replica.http.get("/api/v1/sessions?limit=1", headers=ACME.proof) as answer:
                assert answer.status in (200, 429)
                assert (answer.status == 429) == ("Retry-After" in answer.headers)
                passed += answer.status == 200
                refused[replica] += answer.status == 429

    began = time.monotonic()
    await asyncio.gather(*(ask(replica) for replica in site.replicas for _ in range(2)))
    allowed = BURST + RATE * (time.monotonic() - began)
    print(f"{passed} of {allowed:.0f} allowed")
    assert BURST <= passed <= allowed + 1
