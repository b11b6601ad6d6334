"""One run: several sessions, a disturbance in their midst, and the audit."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random

from tests.chaos.audit import Audit
from tests.chaos.chaos_site import ChaosSite
from tests.chaos.disturbances import DISTURBANCES, LIVEKIT_RESTART
from tests.chaos.kill_points import KillPoint
from tests.chaos.ledger import KnownSession, Ledger, Violation
from tests.chaos.scripted_client import ScriptedClient
from tests.chaos.scripts_of_sessions import scripts
from tests.wall_clock import MachineClock

MOMENT_TIMEOUT = 60.0
"""Seconds in which the moment may come; then the strike comes anyway."""
LAST_MOMENTS = 10.0
"""Seconds in which a moment may still come after all scripts are through: a client that ended its session is answered
before the room is deleted, services are told and callbacks are sent."""
SETTLE_TIMEOUT = 180.0
"""Seconds in which all scripts must be through: enough for a starved machine."""
LAG_PAUSE, LAG_MAX = 0.1, 1.0
"""How often to look at the lag of this process, and the lag from which on the machine is starved. Seconds."""
PROCESS_ENDS = 0.1
"""Seconds in which a killed process has ended."""
CALLBACKS_TIMEOUT = 60.0
"""Seconds in which callbacks arrive that were interrupted: a try that failed is repeated after a pause."""
ROOMS_LEFT_TIMEOUT = 60.0
"""Seconds after the end of the sessions in which their rooms must be gone."""


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
    ledger.violations.clear()
    ledger.sessions.clear()
    ledger.callbacks.clear()
    ledger.is_starved = ledger.rooms_are_lost = False
    ledger.clock = MachineClock()
    random = Random(f"{point.seed}/{point.number}/scripts")
    drawn = scripts(random, len(site.scripts))
    site.scripts |= {script.number: script for script in drawn}
    clients = [
        ScriptedClient(script, site.api, callback_url=site.callbacks.url, happenings=site.happenings, ledger=ledger)
        for script in drawn
    ]
    awaited = site.happenings.await_moment(point.moment, point.count)
    running = [asyncio.create_task(client.run(), name=f"client {client.script.number}") for client in clients]
    watching = asyncio.create_task(_notice_starvation(ledger))
    if point.moment.kind == "delete":  # those that would last until the end of the run are ended in time
        running += [asyncio.create_task(_end_later(client, random.uniform(2.0, 4.0))) for client in clients[2:3]]
    try:
        outcome.is_on_time = await _come(awaited.reached, running)
        await asyncio.sleep(point.delay)
        await _strike(site, point, outcome, awaited.struck)
        site.happenings.let_go()
        await _settle(site, running, clients)
        if ledger.rooms_are_lost:
            await _rooms_are_made_again(site)
        await _audit(site, clients)
    finally:
        site.happenings.let_go()
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await _end_all(site, clients)
    watching.cancel()
    outcome.acknowledged, outcome.is_starved = len(ledger.sessions), ledger.is_starved
    outcome.violations = list(ledger.violations)
    return outcome


async def _notice_starvation(ledger: Ledger) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(LAG_PAUSE)
        if loop.time() > began + LAG_PAUSE + LAG_MAX:
            ledger.is_starved = True


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


async def _settle(site: ChaosSite, running: list[asyncio.Task[None]], clients: list[ScriptedClient]) -> None:
    """Wait until every script is through."""
    done, pending = await asyncio.wait(running, timeout=SETTLE_TIMEOUT)
    for task in done:
        if (error := task.exception()) is not None and not site.ledger.violations:
            site.ledger.breaks("the load goes on", repr(error))
    if pending:
        site.ledger.breaks("every session gets ready", f"{[task.get_name() for task in pending]}; {clients}")


async def _rooms_are_made_again(site: ChaosSite) -> None:
    """Wait until each session whose room was lost has a room and is ready again, unless it is over."""
    for known in site.ledger.alive():
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT):
                while not await _is_settled(site, known):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            site.ledger.breaks("every session gets ready", f"{known.session_id} does not get ready again")


async def _is_settled(site: ChaosSite, known: KnownSession) -> bool:
    status, view = await site.api("GET", f"/sessions/{known.session_id}")
    if status != HTTPStatus.OK or view["reason"] is not None:
        return True  # the audit says what is wrong with it
    return view["state"] in ("ready", "active") and known.session_id in await site.watch.sessions()


async def _audit(site: ChaosSite, clients: list[ScriptedClient]) -> None:
    audit = Audit(site.ledger, site.scripts)
    rooms = await site.watch.sessions()
    for known in list(site.ledger.sessions.values()):
        status, view = await site.api("GET", f"/sessions/{known.session_id}")
        audit.compare(known, status, view, rooms.get(known.session_id))
    await asyncio.gather(*(client.repeat() for client in clients))
    await _callbacks_arrive(site)
    site.watch.is_watching()
    _, listed = await site.api("GET", "/sessions?limit=200")
    ids = {view["session_id"] for view in listed["sessions"]}
    for session_id, room in rooms.items():
        if session_id not in ids and session_id in await site.watch.sessions():
            site.ledger.breaks("every room has its session", f"nothing is known of {session_id}: {room}")


async def _callbacks_arrive(site: ChaosSite) -> None:
    """Wait until the receiver has the event of each state that was acknowledged to a client."""
    began = time.monotonic()
    while missing := site.ledger.missing_callbacks():
        if time.monotonic() - began > CALLBACKS_TIMEOUT:
            site.ledger.breaks("callbacks arrive", f"{missing} have not after {CALLBACKS_TIMEOUT:.0f} s")
            return
        await asyncio.sleep(0.1)


async def _end_all(site: ChaosSite, clients: list[ScriptedClient]) -> None:
    """End all sessions, also those of which no client was told, and wait until their rooms are gone."""
    for known in site.ledger.sessions.values():
        known.is_unwanted = True
    _, listed = await site.api("GET", "/sessions?limit=200")
    live = [view["session_id"] for view in listed["sessions"] if view["reason"] is None]
    await asyncio.gather(*(site.api("DELETE", f"/sessions/{session_id}") for session_id in live))
    ended = time.monotonic()
    while left := await site.watch.sessions():
        if time.monotonic() - ended > ROOMS_LEFT_TIMEOUT:
            site.ledger.breaks("no room is left", f"{left} after {ROOMS_LEFT_TIMEOUT:.0f} s")
            break
        await asyncio.sleep(0.1)
    for client in clients:
        await client.leave()
    for service in site.services:
        service.leave_all()
