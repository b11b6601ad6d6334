"""The rules for a service. Each rule is a function that returns what was observed, or raises Broken or Skipped. Its
docstring is the rule in one line."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Coroutine, Sequence

from manager_agent.messages import Evidence, ReadyOn
from service_kit.conformance.harness import DECLINED, Harness
from service_kit.conformance.invalid_messages import FORGERIES, invalid_messages_for
from service_kit.conformance.report import Broken, Skipped
from service_kit.conformance.scenario import Scenario, scenario

Rule = Callable[[Harness], Coroutine[None, None, str]]

IN_FLIGHT = 0.5
"""Seconds in which signals sent before the acknowledgement may still arrive."""
TRIES = 3
"""This many tries prove that a service repeats its signal."""
LATE = 60.0
REFUSED = frozenset({401, 403})


async def invited(harness: Harness) -> str:
    """invited: accept, join, signal ready until acknowledged"""
    async with scenario(harness) as session:
        await session.invites()
        await session.must_join()
        if harness.options.ready_on is ReadyOn.JOIN:
            return "ready by joining"
        how = await _must_say_ready(session)
        await asyncio.sleep(IN_FLIGHT)
        before = len(session.fake_manager.ready)
        if await session.fake_manager.until(lambda: len(session.fake_manager.ready) > before, harness.watch):
            raise Broken("kept signaling ready after the acknowledgement")
        if not session.fake_manager.is_there:
            raise Broken("signaled ready, then left the room")
        return f"ready by {how}"


async def invited_twice(harness: Harness) -> str:
    """the same invite several times: join once"""
    async with scenario(harness) as session:
        invite = session.invite()
        await asyncio.gather(*(session.must_accept(invite) for _ in range(3)))
        await session.must_join()
        await session.must_accept(invite)
        if await session.fake_manager.until(lambda: len(session.fake_manager.sids) > 1, harness.watch):
            raise Broken(f"joined {len(session.fake_manager.sids)} times for one invite")
        return "invited 4 times, joined once"


async def invited_late(harness: Harness) -> str:
    """an invite after its deadline: decline, or join and leave as usual"""
    async with scenario(harness) as session:
        invite = session.invite(deadline=-LATE)
        status = await harness.post(invite)
        if status >= 300 and status not in DECLINED and not 400 <= status < 500:
            raise Broken(f"answered {status}")
        if status >= 300:
            return f"declined with {status}"
        await session.fake_manager.until(lambda: bool(session.fake_manager.sids), harness.watch)
        await harness.post(session.session_ended(invite))
        await session.must_leave("joined late, was told that the session ended")
        return f"answered {status}, left when the session ended"


async def bad_signature(harness: Harness) -> str:
    """an invite not signed by the manager: answer 401 or 403, do not join"""
    async with scenario(harness) as session:
        for number, name in enumerate(FORGERIES, start=1):
            body = session.invite(number=number).model_dump_json().encode()
            status = await harness.post(body, FORGERIES[name](harness, body))
            if status not in REFUSED:
                raise Broken(f"{name}: answered {status}, not 401 or 403")
        if await session.fake_manager.until(lambda: bool(session.fake_manager.sids), harness.watch):
            raise Broken("refused the forged invites, but joined")
        return f"refused {len(FORGERIES)} forgeries"


async def not_acknowledged(harness: Harness) -> str:
    """not acknowledged: signal ready again"""
    _needs_signal(harness)
    async with scenario(harness) as session:
        session.fake_manager.ignoring = math.inf
        await session.invites()
        await session.must_join()
        how, limit = await _must_say_ready(session), harness.options.timeouts.repeat
        if how is Evidence.ATTRIBUTE:
            return "signals by attribute, which can't get lost"
        if not await session.fake_manager.until(lambda: len(session.fake_manager.ready) >= TRIES, limit):
            raise Broken(
                f"signaled ready {len(session.fake_manager.ready)} times within {limit:g} s without acknowledgement"
            )
        session.fake_manager.ignoring = 0
        before = len(session.fake_manager.ready)
        if not await session.fake_manager.until(lambda: len(session.fake_manager.ready) > before, limit):
            raise Broken(f"gave up after {before} tries")
        return f"signaled {before + 1} times until acknowledged"


async def manager_replaced(harness: Harness) -> str:
    """the manager is replaced: signal ready to the new one too"""
    _needs_signal(harness)
    async with scenario(harness) as session:
        await session.invites()
        await session.must_join()
        if await _must_say_ready(session) is Evidence.HTTP:
            return "signals over HTTP, which does not depend on the manager in the room"
        began, limit = time.monotonic(), harness.options.timeouts.repeat
        await session.replace_manager()
        if not await session.fake_manager.until(
            lambda: session.fake_manager.ready[-1].manager == session.manager, limit
        ):
            raise Broken(f"did not signal ready to the next manager within {limit:g} s")
        return f"after {time.monotonic() - began:.1f} s"


async def ended_early(harness: Harness) -> str:
    """the session ends right after the invite: do not stay in the room"""
    async with scenario(harness) as session:
        invite = await session.invites()
        await harness.post(session.session_ended(invite))
        await session.fake_manager.until(lambda: bool(session.fake_manager.sids), harness.watch)
        await session.must_leave("was told that the session ended before joining")
        return "joined and left" if session.fake_manager.sids else "did not join"


async def ended(harness: Harness) -> str:
    """the session ends: leave the room unasked"""
    async with scenario(harness) as session:
        invite = await session.invites()
        await session.must_join()
        status, began = await harness.post(session.session_ended(invite)), time.monotonic()
        if not 200 <= status < 300:
            raise Broken(f"answered session_ended with {status}")
        await session.must_leave("was told that the session ended")
        return f"after {time.monotonic() - began:.1f} s"


async def rubbish(harness: Harness) -> str:
    """malformed messages with a valid signature: no 5xx, accept an invite afterwards"""
    async with scenario(harness) as session:
        bodies = invalid_messages_for(session.invite())
        for name, body in bodies.items():
            try:
                status = await harness.post(body)
            except Broken as broken:
                raise Broken(f"{name}: {broken}") from None
            if status >= 500:
                raise Broken(f"{name}: answered {status}")
        await session.must_accept(session.invite(number=2))
        return f"handled {len(bodies)} malformed bodies"


async def unknown_fields(harness: Harness) -> str:
    """an invite with unknown fields: accept"""
    async with scenario(harness) as session:
        body = json.loads(session.invite().model_dump_json()) | {"new_field": {"of": ["a", "later", "version"]}}
        await session.must_accept(json.dumps(body).encode())
        return "accepted"


RULES: Sequence[Rule] = (
    invited,
    invited_twice,
    invited_late,
    bad_signature,
    not_acknowledged,
    manager_replaced,
    ended_early,
    ended,
    rubbish,
    unknown_fields,
)


def name_of(rule: Rule) -> str:
    return rule.__name__.replace("_", " ")


async def _must_say_ready(session: Scenario) -> Evidence:
    """Wait for the service to signal ready; returns how it did so first. Raises Broken."""
    fake_manager, limit = session.fake_manager, session.harness.options.timeouts.ready
    if not await fake_manager.until(lambda: bool(fake_manager.ready) or fake_manager.failed is not None, limit):
        raise Broken(f"joined, but did not signal ready within {limit:g} s")
    if not fake_manager.ready:
        raise Broken(f"signaled failed: {fake_manager.failed}")
    return fake_manager.ready[0].how


def _needs_signal(harness: Harness) -> None:
    if harness.options.ready_on is ReadyOn.JOIN:
        raise Skipped("ready by joining (--ready-on join)")
