"""The end of a run: everything that goes on comes to rest, is compared with what was acknowledged, and is removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus

from tests.chaos.audit import Audit
from tests.chaos.ledger import KnownSession, Ledger
from tests.chaos.scripted_client import ScriptedClient
from tests.chaos.scripted_site import ScriptedSite

SETTLE_TIMEOUT = 180.0
"""Seconds in which all scripts must be through: enough for a starved machine."""
LAG_PAUSE, LAG_MAX = 0.1, 1.0
"""How often to look at the lag of this process, and the lag from which on the machine is starved. Seconds."""
CALLBACKS_TIMEOUT = 60.0
"""Seconds in which callbacks arrive that were interrupted: a try that failed is repeated after a pause."""
ROOMS_LEFT_TIMEOUT = 60.0
"""Seconds after the end of the sessions in which their rooms must be gone."""


async def notice_starvation(ledger: Ledger) -> None:
    """Note it in the ledger when this process is late until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(LAG_PAUSE)
        if loop.time() > began + LAG_PAUSE + LAG_MAX:
            ledger.is_starved = True


async def settle(site: ScriptedSite, running: Sequence[asyncio.Task[None]], clients: Sequence[ScriptedClient]) -> None:
    """Wait until every script is through."""
    done, pending = await asyncio.wait(running, timeout=SETTLE_TIMEOUT)
    for task in done:
        if (error := task.exception()) is not None and not site.ledger.violations:
            site.ledger.breaks("the load goes on", repr(error))
    if pending:
        site.ledger.breaks("every session gets ready", f"{[task.get_name() for task in pending]}; {clients}")


async def all_are_ready(site: ScriptedSite) -> None:
    """Wait until each session has a room and is ready, unless it is over. One is ready again if its room was lost, or
    its services had to connect anew."""
    for known in site.ledger.alive():
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT):
                while not await _is_settled(site, known):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            site.ledger.breaks("every session gets ready", f"{known.session_id} does not get ready")


async def _is_settled(site: ScriptedSite, known: KnownSession) -> bool:
    status, view = await site.api("GET", f"/sessions/{known.session_id}")
    if status != HTTPStatus.OK or view["reason"] is not None:
        return True  # the audit says what is wrong with it
    return view["state"] in ("ready", "active") and known.session_id in await site.watch.sessions()


async def audit(site: ScriptedSite, clients: Sequence[ScriptedClient]) -> None:
    """Compare what was acknowledged with what is true now. What is broken is in the ledger."""
    comparison = Audit(site.ledger, site.scripts)
    rooms = await site.watch.sessions()
    for known in list(site.ledger.sessions.values()):
        status, view = await site.api("GET", f"/sessions/{known.session_id}")
        comparison.compare(known, status, view, rooms.get(known.session_id))
    await asyncio.gather(*(client.repeat() for client in clients))
    await _callbacks_arrive(site)
    site.watch.is_watching()
    ids = {view["session_id"] for view in await site.listed()}
    for session_id, room in rooms.items():
        if session_id not in ids and session_id in await site.watch.sessions():
            site.ledger.breaks("every room has its session", f"nothing is known of {session_id}: {room}")


async def _callbacks_arrive(site: ScriptedSite) -> None:
    """Wait until the receiver has the event of each state that was acknowledged to a client."""
    began = time.monotonic()
    while missing := site.ledger.missing_callbacks():
        if time.monotonic() - began > CALLBACKS_TIMEOUT:
            site.ledger.breaks("callbacks arrive", f"{missing} have not after {CALLBACKS_TIMEOUT:.0f} s")
            return
        await asyncio.sleep(0.1)


async def end_all(site: ScriptedSite, clients: Sequence[ScriptedClient]) -> None:
    """End all sessions, also those of which no client was told, and wait until their rooms are gone."""
    for known in site.ledger.sessions.values():
        known.is_unwanted = True
    live = [view["session_id"] for view in await site.listed() if view["reason"] is None]
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
