"""What is done at the chosen moment, to the session manager or to its connections with LiveKit. A new kind of
disturbance is one more entry here."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from scripts.livekit_server import LiveKitServer
from tests.byte_proxy import CLEAN, ByteFault, ByteProxy, Closing
from tests.chaos.happenings import AwaitedMoment
from tests.live.manager_process import ManagerProcess

SECOND_TIMEOUT = 30.0
"""Seconds in which the second moment may come: a process recovers once it is started and may act."""
FAULT_LASTS = 8.0
"""Seconds."""
RESETS, RESET_PAUSE = 8, 1.0
FROZEN = 30.0
"""Seconds: longer than LiveKit waits for a participant that is silent."""
LIVEKIT_IS_AWAY = 3.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Victim:
    manager: ManagerProcess
    connections: Sequence[ByteProxy]
    """Between it and LiveKit: API and signal connections, and webhooks."""
    livekit: LiveKitServer


Disturbance = Callable[[Victim, AwaitedMoment | None], Coroutine[Any, Any, None]]
"""Returns once the session manager works again. The second argument: a moment after the restart to strike again."""


async def kill_and_restart(victim: Victim, again: AwaitedMoment | None) -> None:
    """kill -9, and another process at once; with `again`, kill -9 of that one too, in the midst of its recovery."""
    manager = victim.manager
    await manager.kill()
    if again is not None:
        starting = asyncio.create_task(manager.start())
        with suppress(TimeoutError):
            async with asyncio.timeout(SECOND_TIMEOUT):
                await again.reached.wait()
        await manager.kill()
        again.struck.set()
        starting.cancel()
        await asyncio.wait([starting])
    await manager.start()


async def stop_and_restart(victim: Victim, _: AwaitedMoment | None) -> None:
    """SIGTERM, and another process once that one has ended."""
    await victim.manager.end(signal.SIGTERM)
    await victim.manager.start()


async def freeze_and_thaw(victim: Victim, _: AwaitedMoment | None) -> None:
    victim.manager.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN)
    finally:
        victim.manager.send(signal.SIGCONT)
    await victim.manager.until_ready()


async def restart_livekit(victim: Victim, _: AwaitedMoment | None) -> None:
    """All rooms are lost, with those who are in them."""
    await victim.livekit.stop()
    await asyncio.sleep(LIVEKIT_IS_AWAY)
    await victim.livekit.start()
    await victim.manager.until_ready()


def on_connections(fault: ByteFault) -> Disturbance:
    """Let all connections have this fault for a while."""

    async def disturb(victim: Victim, _: AwaitedMoment | None) -> None:
        for connection in victim.connections:
            connection.set(fault)
        await asyncio.sleep(FAULT_LASTS)
        for connection in victim.connections:
            connection.set(CLEAN)
        await victim.manager.until_ready()

    return disturb


async def reset_connections(victim: Victim, _: AwaitedMoment | None) -> None:
    """Reset all connections, again and again."""
    for _number in range(RESETS):
        for connection in victim.connections:
            connection.reset_all()
        await asyncio.sleep(RESET_PAUSE)
    await victim.manager.until_ready()


KILL, LIVEKIT_RESTART = "kill -9", "LiveKit restart"
FAULTS: Mapping[str, Disturbance] = {
    "latency": on_connections(ByteFault(latency=0.3)),
    "jitter": on_connections(ByteFault(jitter=0.6)),
    "slow drip": on_connections(ByteFault(latency=0.02, drip=256)),
    "black hole": on_connections(ByteFault(closing=Closing.BLACK_HOLE)),
    "half close": on_connections(ByteFault(closing=Closing.HALF_CLOSE)),
    "refusal": on_connections(ByteFault(closing=Closing.REFUSE)),
    "reset": reset_connections,
    "SIGTERM": stop_and_restart,
    "SIGSTOP": freeze_and_thaw,
    LIVEKIT_RESTART: restart_livekit,
}
DISTURBANCES: Mapping[str, Disturbance] = {KILL: kill_and_restart, **FAULTS}
