"""/health, /livez and /readyz: health checks for people and supervisors."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Literal, NamedTuple

from aiohttp import web

from http_api.access.principals import Scope
from http_api.app_keys import ACTING, AGENT, PROBE, RECORDS, RECOVERY, ROOMS
from http_api.errors import MissingScope, Unready
from http_api.limits.rate_limits import identify
from http_api.models.health import Alive, Health, Proven, Ready, RedisView, ReplicaView
from http_api.models.queries import HealthQuery
from http_api.models.responses import answer, json_answer
from http_api.observability.upstreams import REDIS, UPSTREAMS
from http_api.protocol.bodies import read_query
from http_api.replica import replica_status
from http_api.stopping import IS_STOPPING, STOPPING
from manager_agent.messages import rfc3339
from manager_agent.replicas.lease import ReplicaInfo

SHARED_STATE_DIR = "another process writes to this one's STATE_DIR: processes of two LiveKit servers need one each"
PROBING = frozenset({Scope.ADMIN, Scope.METRICS})


async def health(request: web.Request) -> web.Response:
    """Check health.

    With `?deep=true` it runs a probe, which creates a room and requires the scope `admin` or `metrics`: 503 if sessions
    can't be created.
    """
    if request.query_string and read_query(request, HealthQuery).deep:
        principal = await identify(request)
        if not principal.scopes & PROBING:
            raise MissingScope(*sorted(PROBING))
        if request.app[STOPPING].is_begun:
            raise Unready(IS_STOPPING)
        proof = await request.app[PROBE].run()
        webhooks: Literal["arrived", "none came"] = "arrived" if proof.webhooks_arrive else "none came"
        return answer(Proven(took_ms=round(proof.took * 1000), webhooks=webhooks))
    app = request.app
    recovery, status = app[RECOVERY], replica_status(app)
    replicas = None if status is None else _Replicas(status.own_id, status.leader, tuple(status.replicas))
    return json_answer(
        _health_json(app[AGENT].registered, recovery.is_complete, len(recovery.unreadable), _redis(app), replicas)
    )


class _Replicas(NamedTuple):
    own_id: str
    leader: str
    all: tuple[ReplicaInfo, ...]


@lru_cache(maxsize=1)
def _health_json(
    is_registered: bool, is_recovered: bool, unreadable_rooms: int, redis: RedisView | None, replicas: _Replicas | None
) -> str:
    """The body, which is the same for nearly all who ask, again and again."""
    return Health(
        manager_agent="registered" if is_registered else "not registered",
        recovery="complete" if is_recovered else "under way",
        unreadable_rooms=unreadable_rooms,
        redis=redis,
        replica_id=None if replicas is None else replicas.own_id,
        replicas=() if replicas is None else tuple(ReplicaView.of(one, replicas.leader) for one in replicas.all),
    ).model_dump_json()


def _redis(app: web.Application) -> RedisView | None:
    for upstream in app[UPSTREAMS].statuses:
        if upstream.name == REDIS:
            return RedisView(state=upstream.state.value, since=rfc3339(upstream.since), detail=upstream.detail)
    return None


async def livez(_: web.Request) -> web.Response:
    """Liveness probe.

    It only shows that the event loop runs, because a restart would not fix any other failure.
    """
    return json_answer(_alive())


@cache
def _alive() -> str:
    return Alive().model_dump_json()


async def readyz(request: web.Request) -> web.Response:
    """Readiness probe.

    503 until the manager agent is registered with LiveKit, while LiveKit can't be asked, while Redis is away (with
    REDIS_URL), while the process is stopping or hands its sessions over, once a newer process of the deployment has
    taken over, and once a process writes to the same STATE_DIR that has another LiveKit server.
    200 while Redis serves but refuses writes, which `redis` says: sessions are still read, changed and ended.
    """
    if request.app[STOPPING].is_begun:
        raise Unready(IS_STOPPING)
    if (status := replica_status(request.app)) is not None and status.is_draining:
        raise Unready("this replica hands its sessions over, and takes no new ones")
    if (redis := _redis(request.app)) is not None and redis.state == "away":
        raise Unready(f"Redis is away since {redis.since}: {redis.detail}")
    acting = request.app[ACTING]
    if acting.is_superseded:
        raise Unready(acting.why_not)
    if not request.app[AGENT].registered:
        why = request.app[ROOMS].rejection or (None if acting.may_act else acting.why_not)
        raise Unready("the manager agent is not registered with LiveKit" + (f": {why}" if why else ""))
    if not acting.may_act:
        raise Unready(acting.why_not)
    if request.app[RECORDS].stats.is_frozen:
        raise Unready(SHARED_STATE_DIR)
    return answer(Ready(redis=redis))
