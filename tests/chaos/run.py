"""One run: several sessions, a disturbance in their midst, and the audit."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from random import Random

from tests.chaos.chaos_site import ChaosSite
from tests.chaos.disturbances import DISTURBANCES, LIVEKIT_RESTART
from tests.chaos.kill_points import KillPoint
from tests.chaos.ledger import Violation
from tests.chaos.scripted_client import ScriptedClient
from tests.chaos.scripts_of_sessions import scripts
from tests.chaos.settling import all_are_ready, audit, end_all, notice_starvation, settle

MOMENT_TIMEOUT = 60.0
"""Seconds in which the moment may come; then the strike comes anyway."""
LAST_MOMENTS = 10.0
"""Seconds in which a moment may still come after all scripts are through: a client that ended its session is answered
before the room is deleted, services are told and callbacks are sent."""
PROCESS_ENDS = 0.1
"""Seconds in which a killed process has ended."""


@dataclass(slots=True)
class Outcome:
    point: KillPoint
    is_on_time: bool = True
    """Whether the moments came."""
    is_starved: bool = False
    acknowledged: int = 0
    """Sessions."""
    listening_after: float = 0.0
    """Seconds from the strike until the API listens again: mostly the start of a Python process."""
    answered_after: float = 0.0
    """Seconds from then until every acknowledged session is answered."""
    violations: list[Violation] = field(default_factory=list)


async def run_once(site: ChaosSite, point: KillPoint) -> Outcome:
    """Run it to its end. Breaches are in the outcome."""
    outcome, ledger = Outcome(point), site.ledger
    site.begin_run()
    random = Random(f"{point.seed}/{point.number}/scripts")
    clients = [site.client(script) for script in scripts(random, len(site.scripts))]
    awaited = site.happenings.await_moment(point.moment, point.count)
    running = [asyncio.create_task(client.run(), name=f"client {client.script.number}") for client in clients]
    watching = asyncio.create_task(notice_starvation(ledger))
    if point.moment.kind == "delete":  # those that would last until the end of the run are ended in time
        running += [asyncio.create_task(_end_later(client, random.uniform(2.0, 4.0))) for client in clients[2:3]]
    try:
        outcome.is_on_time = await _come(awaited.reached, running)
        await asyncio.sleep(point.delay)
        await _strike(site, point, outcome, awaited.struck)
        site.happenings.let_go()
        await settle(site, running, clients)
        if ledger.rooms_are_lost:
            await all_are_ready(site)
        await audit(site, clients)
    finally:
        site.happenings.let_go()
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await end_all(site, clients)
    watching.cancel()
    outcome.acknowledged, outcome.is_starved = len(ledger.sessions), ledger.is_starved
    outcome.violations = list(ledger.violations)
    return outcome


async def _come(reached: asyncio.Event, running: list[asyncio.Task[None]]) -> bool:
    """Wait until the moment is reached, or can't come any more. Returns whether it is."""
    coming = asyncio.create_task(reached.wait())
    through = asyncio.create_task(_last_moments(running))
    await asyncio.wait([coming, through], timeout=MOMENT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
    coming.cancel()
    through.cancel()
    return reached.is_set()


async def _last_moments(scripts: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(scripts)
    await asyncio.sleep(LAST_MOMENTS)


async def _end_later(client: ScriptedClient, seconds: float) -> None:
    await asyncio.sleep(seconds)
    while client.known is None:
        await asyncio.sleep(0.1)
    await client.end()


async def _strike(site: ChaosSite, point: KillPoint, outcome: Outcome, struck: asyncio.Event) -> None:
    again = site.happenings.await_moment(point.again, 1) if point.again else None
    began = time.monotonic()
    site.ledger.rooms_are_lost = point.disturbance == LIVEKIT_RESTART
    struck_at = [known.session_id for known in site.ledger.alive()]
    disturbing = asyncio.create_task(DISTURBANCES[point.disturbance](site.victim, again))
    asyncio.get_running_loop().call_later(PROCESS_ENDS, struck.set)
    await asyncio.sleep(PROCESS_ENDS)
    listening_at = await site.listens()
    answers = [site.api("GET", f"/sessions/{session_id}") for session_id in struck_at]
    await asyncio.gather(*answers)
    outcome.listening_after, outcome.answered_after = listening_at - began, time.monotonic() - listening_at
    await disturbing
    outcome.is_on_time &= again is None or again.reached.is_set()
