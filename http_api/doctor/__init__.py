"""Check everything that a session manager with these settings needs. Leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from http_api.doctor import serving
from http_api.doctor.finding import CheckVerdict, Finding, skipped, wrong
from http_api.doctor.livekit import AUTO_CREATE, CLOCK, JOINED, KEYS, LiveKitRefused, LiveKitServerCheck
from http_api.doctor.network import STUN, interface, proxies
from http_api.doctor.redis import check_redis
from http_api.listening import CannotListen
from http_api.settings.settings import Settings
from manager_agent.proxy_rule import proxy_rule

OF_ROOMS = (AUTO_CREATE, JOINED, STUN, serving.WEBHOOKS)


async def examine(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Yield each finding as soon as it is known."""
    port, is_served = await serving.check_port(settings)
    yield port
    yield interface()
    if not (rule := proxy_rule()).is_empty:
        yield proxies(settings, rule)
    if (url := settings.shared_redis) is not None:
        async for finding in check_redis(url, settings.deployment):
            yield finding
    async with LiveKitServerCheck(settings) as livekit:
        reached = await livekit.reach()
        yield reached
        if reached.verdict is CheckVerdict.WRONG:
            for check in (CLOCK, KEYS, *OF_ROOMS):
                yield skipped(check, "livekit-server can't be reached")
            return
        yield livekit.clock()
        keys = await livekit.keys()
        yield keys
        if keys.verdict is CheckVerdict.WRONG:
            for check in OF_ROOMS:
                yield skipped(check, "livekit-server does not accept our requests")
            return
        yield await livekit.auto_create()
        try:
            for finding in await _check_in_room(settings, livekit, is_served=is_served):
                yield finding
        except LiveKitRefused as refused:
            yield wrong(JOINED, f"can't create a room: {refused}", "See livekit-server's log.")


async def _check_in_room(settings: Settings, livekit: LiveKitServerCheck, *, is_served: bool) -> list[Finding]:
    """The checks that need a room. Raises LiveKitRefused."""
    if is_served:
        async with livekit.room() as room:
            found = await livekit.join(room)
        return [*found, *await serving.check_deep_health(settings, livekit.caller_token())]
    listener = serving.Listener(settings)
    try:
        async with listener.listening(), livekit.room() as room:
            return [*await livekit.join(room), await listener.arrived(room)]
    except CannotListen:
        async with livekit.room() as room:
            return [*await livekit.join(room), skipped(serving.WEBHOOKS, "the port is not available")]
