"""/api/v1/microservices: the services that can be invited."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api import keys
from http_api.bodies import read_body, read_query
from http_api.schemas import Heartbeat, InstanceQuery, RegisterService
from http_api.views import ServiceList, ServiceView, answer

PATH = "/api/v1/microservices"


async def register(request: web.Request) -> web.Response:
    """201 when it is new, 200 when it replaces."""
    body = await read_body(request, RegisterService, guard=request.app[keys.GUARD])
    service, registry = body.service(request.app[keys.CLOCK]()), request.app[keys.REGISTRY]
    new = registry.register(service)
    view = ServiceView.of(registry.standing(service.service_id))
    return answer(view, HTTPStatus.CREATED, Location=f"{PATH}/{service.service_id}") if new else answer(view)


async def list_all(request: web.Request) -> web.Response:
    standings = request.app[keys.REGISTRY].standings()
    return answer(ServiceList(services=[ServiceView.of(standing) for standing in standings]))


async def show(request: web.Request) -> web.Response:
    return answer(ServiceView.of(request.app[keys.REGISTRY].standing(request.match_info["service_id"])))


async def remove(request: web.Request) -> web.Response:
    """Sessions that run are not touched."""
    service_id, asked = request.match_info["service_id"], read_query(request, InstanceQuery)
    return answer(ServiceView.of(request.app[keys.REGISTRY].remove(service_id, endpoint=asked.endpoint)))


async def heartbeat(request: web.Request) -> web.Response:
    """Renews the lease. 404 when it is not known, so that the service registers again."""
    service_id, asked = request.match_info["service_id"], read_query(request, InstanceQuery)
    said = await read_body(request, Heartbeat) if request.can_read_body else Heartbeat()
    standing = request.app[keys.REGISTRY].heartbeat(
        service_id, load=said.load, draining=said.draining, endpoint=asked.endpoint
    )
    return answer(ServiceView.of(standing))
