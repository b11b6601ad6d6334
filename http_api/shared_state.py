"""What handlers use because there are other replicas: claims, rate limits in Redis, and what is known of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from http_api.bootstrap import Components, SharedFoundation
from http_api.limits.claims import CLAIMS, IdempotencyClaims
from http_api.limits.gcra import Rate
from http_api.limits.rate_limits import RATE_LIMITS
from http_api.limits.rates import LocalRate, RateLimits
from http_api.limits.registrations_begun import REGISTRATIONS_BEGUN, RegistrationsBegun
from http_api.limits.shared_rates import SharedRates
from http_api.replica import CHANGELOG, DRAIN, REPLICA_STATUS, WRITE_PROBE, ReplicaStatus
from http_api.resources.shared_requests import SharedRequests
from manager_agent.clock import Clock


class Closed(Protocol):
    async def aclose(self) -> None: ...


TO_CLOSE: web.AppKey[Sequence[Closed]] = web.AppKey("TO_CLOSE")
"""What has tasks in the background, and is closed before the connection to Redis is."""


def provide_shared(app: web.Application, components: Components, rate: Rate, clock: Clock) -> SharedRequests | None:
    """Store it in the application, under its keys. Returns what repeated token requests share."""
    replica = components.replica
    if replica is None:
        app[CHANGELOG] = app[WRITE_PROBE] = app[REPLICA_STATUS] = app[DRAIN] = None
        app[CLAIMS] = app[REGISTRATIONS_BEGUN] = None
        app[RATE_LIMITS], app[TO_CLOSE] = RateLimits.of(lambda _: LocalRate(rate, clock)), ()
        return None
    shared = replica.shared
    connection, membership, store = shared.connection, shared.membership, shared.store

    rates = SharedRates(connection, rate, clock)
    app[CHANGELOG], app[WRITE_PROBE], app[DRAIN] = shared.changelog, replica.write_probe, replica.drain
    app[CLAIMS] = claims = IdempotencyClaims(
        connection, membership.id, membership.is_alive, components.records.committed
    )
    store.guard_with(claims.guard_of)
    app[REGISTRATIONS_BEGUN] = registrations = RegistrationsBegun(
        connection, membership.id, caught_up=shared.changelog.caught_up, committed=components.records.committed
    )
    for announcing in (claims, registrations):
        shared.changelog.read_anew_with(announcing.read_anew)
    app[RATE_LIMITS], app[TO_CLOSE] = RateLimits.of(rates.counter), (claims, registrations, rates)
    app[REPLICA_STATUS] = lambda: status_of(shared)
    return SharedRequests(connection, lambda session_id: store.ownership(session_id).owner, membership.is_alive)


def status_of(shared: SharedFoundation) -> ReplicaStatus:
    """What this replica knows of itself and the others now."""
    membership, connection = shared.membership, shared.connection
    roll = membership.roll
    replicas = sorted(roll.alive.values(), key=lambda one: (one.address, one.replica_id))
    own = roll.alive.get(membership.id)
    return ReplicaStatus(
        own_id=membership.id,
        replicas=replicas,
        leader=roll.leader,
        sessions_owned=0 if own is None else own.sessions,
        is_draining=membership.is_draining,
        why_away=connection.why_away,
        why_no_writes=connection.refusals.why_no_writes,
        lag=shared.changelog.lag,
    )
