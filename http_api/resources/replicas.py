"""/api/v1/replicas: the processes that serve a deployment together."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api.errors import NoReplicas
from http_api.models.health import Draining
from http_api.models.responses import answer
from http_api.replica import DRAIN, replica_status

PATH = "/api/v1/replicas"


async def drain(request: web.Request) -> web.Response:
    """Drain the replica that answers.

    It hands its sessions over to the other replicas, in order, and takes no new ones: `/readyz` is 503 from then on. It
    goes on to answer requests until it is stopped. `/health` shows how many sessions it still has. 409 without
    REDIS_URL.
    """
    if (drain := request.app[DRAIN]) is None:
        raise NoReplicas
    await drain.start()
    status = replica_status(request.app)
    assert status is not None, "it drains"
    return answer(Draining(replica_id=status.own_id, sessions=status.sessions_owned), HTTPStatus.ACCEPTED)
