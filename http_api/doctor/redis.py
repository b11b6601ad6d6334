"""Checks of the Redis that the replicas of a deployment share (REDIS_URL)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping

from http_api.doctor.finding import Finding, ok, skipped, warning, wrong
from manager_agent.redis.connection import CommandRefused, RedisAway, RedisConnection
from manager_agent.redis.url import RedisUrl

REACHED, VERSION, EVICTION, PERSISTENCE, LATENCY = (
    "redis",
    "redis version",
    "redis eviction",
    "redis persistence",
    "redis latency",
)
VERSION_MIN = (7, 0)
"""The first with functions of commands that the session manager uses, such as SET with both NX and GET."""
PINGS = 5
LATENCY_NOTED = 0.02
"""Seconds for the quickest of some PINGs. Each request waits for at least one answer of Redis."""


async def check_redis(url: RedisUrl, deployment: str) -> AsyncGenerator[Finding, None]:
    """Yield a finding for each check."""
    connection = RedisConnection(url, deployment)
    try:
        facts = info_of((await connection.call("INFO")).decode())
        latency = await _latency(connection)
        saves = await _saves(connection)
    except RedisAway as away:
        yield wrong(REACHED, f"{url.redacted} can't be used: {away}", "Start Redis, or set REDIS_URL to where it is.")
        for check in (VERSION, EVICTION, PERSISTENCE, LATENCY):
            yield skipped(check, "Redis can't be used")
        return
    finally:
        await connection.aclose()
    yield ok(REACHED, f"{url.redacted} answers")
    yield version(facts)
    yield eviction(facts)
    yield persistence(facts, saves)
    yield latency_of(latency)


async def _latency(connection: RedisConnection) -> float:
    """The seconds that the quickest of some PINGs took. Raises RedisAway."""
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        await connection.call("PING")
        took.append(time.perf_counter() - began)
    return min(took)


async def _saves(connection: RedisConnection) -> str | None:
    """When snapshots are saved; empty if never, None if that can't be asked."""
    try:
        answer = await connection.call("CONFIG", "GET", "save")
    except (RedisAway, CommandRefused):  # not allowed, or not there: hosted Redis has no CONFIG
        return None
    return answer[1].decode() if len(answer) > 1 else None


def info_of(text: str) -> dict[str, str]:
    """The facts in an answer to INFO. PURE."""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip() for name, _, value in pairs if name}


def version(facts: Mapping[str, str]) -> Finding:
    """PURE, like the following."""
    shown = facts.get("redis_version", "unknown")
    known = tuple(int(part) for part in shown.split(".")[:2] if part.isdigit())
    if known < VERSION_MIN:
        return wrong(VERSION, f"{shown} is too old", "Use Redis 7 or Valkey, or a later version.")
    return ok(VERSION, f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else shown)


def eviction(facts: Mapping[str, str]) -> Finding:
    policy, most = facts.get("maxmemory_policy", "unknown"), facts.get("maxmemory", "0")
    if policy == "noeviction":
        return ok(EVICTION, "off: nothing is removed when the memory is full")
    says = f"maxmemory-policy is {policy}: Redis may remove sessions when its memory is full"
    mend = "Set maxmemory-policy to noeviction, and give no other application the same Redis."
    return warning(EVICTION, f"{says}, which has no limit now", mend) if most == "0" else wrong(EVICTION, says, mend)


def persistence(facts: Mapping[str, str], saves: str | None) -> Finding:
    """`saves`: as CONFIG GET has it; None: not known."""
    if facts.get("aof_enabled") == "1":
        return ok(PERSISTENCE, "append-only file")
    mend = "Set appendonly to yes. Sessions are recovered from LiveKit's rooms; the rest would be lost."
    if saves is None:
        return warning(PERSISTENCE, "no append-only file; whether snapshots are saved is not known", mend)
    if saves:
        return warning(PERSISTENCE, "snapshots only: a restart loses the changes since the last one", mend)
    return warning(PERSISTENCE, "off: a restart loses everything", mend)


def latency_of(seconds: float) -> Finding:
    says = f"{seconds * 1000:.1f} ms"
    if seconds > LATENCY_NOTED:
        return warning(LATENCY, f"{says}: each request waits for it at least once", "Run Redis near the replicas.")
    return ok(LATENCY, says)
