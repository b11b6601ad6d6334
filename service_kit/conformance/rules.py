"""What a service has to do and not to do. Each rule is a function that returns what was seen, and raises Broken or
Skipped; its docstring is the rule in a line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence

from manager_agent.session.events import Evidence
from manager_agent.session.session import ReadyOn
from service_kit.conformance.harness import DECLINED, Stage
from service_kit.conformance.invalid_messages import FORGERIES, rubbish_for
from service_kit.conformance.report import Broken, Skipped
from service_kit.conformance.scenario import Act, act

Rule = Callable[[Stage], Coroutine[None, None, str]]

IN_FLIGHT = 0.5
"""Seconds in which what was said before its acknowledgement may still come."""
TRIES = 3
"""After so many tries a service is believed that it repeats."""
LATE = 60.0
REFUSED = frozenset({401, 403})


async def invited(stage: Stage) -> str:
    """invited: accepts, joins, says ready until it is acknowledged"""
    async with act(stage) as session:
        await session.invites()
        await session.must_join()
        if stage.options.ready_on is ReadyOn.JOIN:
            return "joined, which is ready"
        how = await _must_say_ready(session)
        await asyncio.sleep(IN_FLIGHT)
        before = len(session.ear.heard)
        if await session.ear.until(lambda: len(session.ear.heard) > before, stage.watch):
            raise Broken("went on saying that it is ready after that was acknowledged")
        if not session.ear.is_there:
            raise Broken("said that it is ready, and left the room")
        return f"ready by {how}"


async def invited_twice(stage: Stage) -> str:
    """the same invite again and again: joins once"""
    async with act(stage) as session:
        invite = session.invite()
        await asyncio.gather(*(session.must_accept(invite) for _ in range(3)))
        await session.must_join()
        await session.must_accept(invite)
        if await session.ear.until(lambda: len(session.ear.sids) > 1, stage.watch):
            raise Broken(f"joined {len(session.ear.sids)} times for one invite")
        return "4 times invited, joined once"


async def invited_late(stage: Stage) -> str:
    """an invite after its deadline: declines, or comes and goes as ever"""
    async with act(stage) as session:
        invite = session.invite(deadline=-LATE)
        status = await stage.post(invite)
        if status >= 300 and status not in DECLINED and not 400 <= status < 500:
            raise Broken(f"answered {status}")
        if status >= 300:
            return f"declined with {status}"
        await session.ear.until(lambda: bool(session.ear.sids), stage.watch)
        await stage.post(session.farewell(invite))
        await session.must_leave("came late, was told that the session is over")
        return f"answered {status}, left when told"


async def bad_signature(stage: Stage) -> str:
    """an invite that is not signed by the manager: 401 or 403, and does not join"""
    async with act(stage) as session:
        for number, name in enumerate(FORGERIES, start=1):
            body = session.invite(number=number).model_dump_json().encode()
            status = await stage.post(body, FORGERIES[name](stage, body))
            if status not in REFUSED:
                raise Broken(f"{name}: answered {status}, not 401 or 403")
        if await session.ear.until(lambda: bool(session.ear.sids), stage.watch):
            raise Broken("refused what was not signed, but joined")
        return f"{len(FORGERIES)} forgeries refused"


async def not_acknowledged(stage: Stage) -> str:
    """not acknowledged: says again that it is ready"""
    _needs_signal(stage)
    async with act(stage) as session:
        session.ear.acknowledging = False
        await session.invites()
        await session.must_join()
        how, limit = await _must_say_ready(session), stage.options.patience.repeat
        if how is Evidence.ATTRIBUTE:
            return "it is an attribute, which can't get lost"
        if not await session.ear.until(lambda: len(session.ear.heard) >= TRIES, limit):
            raise Broken(f"said {len(session.ear.heard)} times within {limit:g} s that it is ready, unacknowledged")
        session.ear.acknowledging = True
        before = len(session.ear.heard)
        if not await session.ear.until(lambda: len(session.ear.heard) > before, limit):
            raise Broken(f"gave up after {before} times")
        return f"{before + 1} times until it was acknowledged"


async def manager_replaced(stage: Stage) -> str:
    """the manager is replaced: says ready to the new one too"""
    _needs_signal(stage)
    async with act(stage) as session:
        await session.invites()
        await session.must_join()
        if await _must_say_ready(session) is Evidence.HTTP:
            return "it says so over HTTP, which outlives managers"
        began, limit = time.monotonic(), stage.options.patience.repeat
        await session.replace_manager()
        if not await session.ear.until(lambda: session.ear.heard[-1].manager == session.manager, limit):
            raise Broken(f"did not say to the manager who came next that it is ready, within {limit:g} s")
        return f"after {time.monotonic() - began:.1f} s"


async def ended_early(stage: Stage) -> str:
    """the session ends right after the invite: is not in the room"""
    async with act(stage) as session:
        invite = await session.invites()
        await stage.post(session.farewell(invite))
        await session.ear.until(lambda: bool(session.ear.sids), stage.watch)
        await session.must_leave("was told that the session is over before it had joined")
        return "came and left" if session.ear.sids else "did not come"


async def ended(stage: Stage) -> str:
    """the session ends: leaves the room by itself"""
    async with act(stage) as session:
        invite = await session.invites()
        await session.must_join()
        status, began = await stage.post(session.farewell(invite)), time.monotonic()
        if not 200 <= status < 300:
            raise Broken(f"answered session_ended with {status}")
        await session.must_leave("was told that the session is over")
        return f"after {time.monotonic() - began:.1f} s"


async def rubbish(stage: Stage) -> str:
    """signed rubbish: no 5xx, and takes an invite afterwards"""
    async with act(stage) as session:
        bodies = rubbish_for(session.invite())
        for name, body in bodies.items():
            try:
                status = await stage.post(body)
            except Broken as broken:
                raise Broken(f"{name}: {broken}") from None
            if status >= 500:
                raise Broken(f"{name}: answered {status}")
        await session.must_accept(session.invite(number=2))
        return f"{len(bodies)} bodies survived"


async def unknown_fields(stage: Stage) -> str:
    """an invite with fields that are new: accepts"""
    async with act(stage) as session:
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


async def _must_say_ready(session: Act) -> Evidence:
    """How it was said first. Raises Broken."""
    ear, limit = session.ear, session.stage.options.patience.ready
    if not await ear.until(lambda: bool(ear.heard) or ear.failed is not None, limit):
        raise Broken(f"joined, but did not say within {limit:g} s that it is ready")
    if not ear.heard:
        raise Broken(f"said that it failed: {ear.failed}")
    return ear.heard[0].how


def _needs_signal(stage: Stage) -> None:
    if stage.options.ready_on is ReadyOn.JOIN:
        raise Skipped("it is ready by joining (--ready-on join)")
