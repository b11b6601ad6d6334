"""What a service has to do and not to do. Each rule is a function that returns what was seen, and raises Broken or
Skipped; its docstring is the rule in a line."""

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
"""Seconds in which what was said before its acknowledgement may still come."""
TRIES = 3
"""After so many tries a service is believed that it repeats."""
LATE = 60.0
REFUSED = frozenset({401, 403})


async def invited(harness: Harness) -> str:
    """invited: accepts, joins, says ready until it is acknowledged"""
    async with scenario(harness) as session:
        await session.invites()
        await session.must_join()
        if harness.options.ready_on is ReadyOn.JOIN:
            return "joined, which is ready"
        how = await _must_say_ready(session)
        await asyncio.sleep(IN_FLIGHT)
        before = len(session.fake_manager.ready)
        if await session.fake_manager.until(lambda: len(session.fake_manager.ready) > before, harness.watch):
            raise Broken("went on saying that it is ready after that was acknowledged")
        if not session.fake_manager.is_there:
            raise Broken("said that it is ready, and left the room")
        return f"ready by {how}"


async def invited_twice(harness: Harness) -> str:
    """the same invite again and again: joins once"""
    async with scenario(harness) as session:
        invite = session.invite()
        await asyncio.gather(*(session.must_accept(invite) for _ in range(3)))
        await session.must_join()
        await session.must_accept(invite)
        if await session.fake_manager.until(lambda: len(session.fake_manager.sids) > 1, harness.watch):
            raise Broken(f"joined {len(session.fake_manager.sids)} times for one invite")
        return "4 times invited, joined once"


async def invited_late(harness: Harness) -> str:
    """an invite after its deadline: declines, or comes and goes as ever"""
    async with scenario(harness) as session:
        invite = session.invite(deadline=-LATE)
        status = await harness.post(invite)
        if status >= 300 and status not in DECLINED and not 400 <= status < 500:
            raise Broken(f"answered {status}")
        if status >= 300:
            return f"declined with {status}"
        await session.fake_manager.until(lambda: bool(session.fake_manager.sids), harness.watch)
        await harness.post(session.session_ended(invite))
        await session.must_leave("came late, was told that the session is over")
        return f"answered {status}, left when told"


async def bad_signature(harness: Harness) -> str:
    """an invite that is not signed by the manager: 401 or 403, and does not join"""
    async with scenario(harness) as session:
        for number, name in enumerate(FORGERIES, start=1):
            body = session.invite(number=number).model_dump_json().encode()
            status = await harness.post(body, FORGERIES[name](harness, body))
            if status not in REFUSED:
                raise Broken(f"{name}: answered {status}, not 401 or 403")
        if await session.fake_manager.until(lambda: bool(session.fake_manager.sids), harness.watch):
            raise Broken("refused what was not signed, but joined")
        return f"{len(FORGERIES)} forgeries refused"


async def not_acknowledged(harness: Harness) -> str:
    """not acknowledged: says again that it is ready"""
    _needs_signal(harness)
    async with scenario(harness) as session:
        session.fake_manager.ignoring = math.inf
        await session.invites()
        await session.must_join()
        how, limit = await _must_say_ready(session), harness.options.timeouts.repeat
        if how is Evidence.ATTRIBUTE:
            return "it is an attribute, which can't get lost"
        if not await session.fake_manager.until(lambda: len(session.fake_manager.ready) >= TRIES, limit):
            raise Broken(
                f"said {len(session.fake_manager.ready)} times within {limit:g} s that it is ready, unacknowledged"
            )
        session.fake_manager.ignoring = 0
        before = len(session.fake_manager.ready)
        if not await session.fake_manager.until(lambda: len(session.fake_manager.ready) > before, limit):
            raise Broken(f"gave up after {before} times")
        return f"{before + 1} times until it was acknowledged"


async def manager_replaced(harness: Harness) -> str:
    """the manager is replaced: says ready to the new one too"""
    _needs_signal(harness)
    async with scenario(harness) as session:
        await session.invites()
        await session.must_join()
        if await _must_say_ready(session) is Evidence.HTTP:
            return "it says so over HTTP, which outlives managers"
        began, limit = time.monotonic(), harness.options.timeouts.repeat
        await session.replace_manager()
        if not await session.fake_manager.until(
            lambda: session.fake_manager.ready[-1].manager == session.manager, limit
        ):
            raise Broken(f"did not say to the manager who came next that it is ready, within {limit:g} s")
        return f"after {time.monotonic() - began:.1f} s"


async def ended_early(harness: Harness) -> str:
    """the session ends right after the invite: is not in the room"""
    async with scenario(harness) as session:
        invite = await session.invites()
        await harness.post(session.session_ended(invite))
        await session.fake_manager.until(lambda: bool(session.fake_manager.sids), harness.watch)
        await session.must_leave("was told that the session is over before it had joined")
        return "came and left" if session.fake_manager.sids else "did not come"


async def ended(harness: Harness) -> str:
    """the session ends: leaves the room by itself"""
    async with scenario(harness) as session:
        invite = await session.invites()
        await session.must_join()
        status, began = await harness.post(session.session_ended(invite)), time.monotonic()
        if not 200 <= status < 300:
            raise Broken(f"answered session_ended with {status}")
        await session.must_leave("was told that the session is over")
        return f"after {time.monotonic() - began:.1f} s"


async def rubbish(harness: Harness) -> str:
    """signed rubbish: no 5xx, and takes an invite afterwards"""
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
        return f"{len(bodies)} bodies survived"


async def unknown_fields(harness: Harness) -> str:
    """an invite with fields that are new: accepts"""
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
    """How it was said first. Raises Broken."""
    fake_manager, limit = session.fake_manager, session.harness.options.timeouts.ready
    if not await fake_manager.until(lambda: bool(fake_manager.ready) or fake_manager.failed is not None, limit):
        raise Broken(f"joined, but did not say within {limit:g} s that it is ready")
    if not fake_manager.ready:
        raise Broken(f"said that it failed: {fake_manager.failed}")
    return fake_manager.ready[0].how


def _needs_signal(harness: Harness) -> None:
    if harness.options.ready_on is ReadyOn.JOIN:
        raise Skipped("it is ready by joining (--ready-on join)")
