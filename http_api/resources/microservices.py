"""/api/v1/microservices: the services that can be invited."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from aiohttp import web

from http_api.app_keys import CLOCK, INVITE_ADDRESSES, REGISTRY
from http_api.models.queries import InstanceQuery
from http_api.models.responses import ServiceList, ServiceView, answer
from http_api.models.services import Heartbeat, RegisterService
from http_api.protocol.bodies import read_body, read_query
from http_api.request_context import PRINCIPAL
from http_api.resources.ownership import refuse_others

PATH = "/api/v1/microservices"


async def register(request: web.Request) -> web.Response:
    """Register a service.

    201 when it is new, 200 when it replaces the registered service of the same id. With `lease_seconds` the service is
    removed unless its lease is renewed in time.
    """
    body = await read_body(request, RegisterService, address_policy=request.app[INVITE_ADDRESSES])
    refuse_others(request, body.service_id)
    service = replace(body.service(request.app[CLOCK]()), owner=request[PRINCIPAL].name)
    registry = request.app[REGISTRY]
    new = registry.register(service)
    view = ServiceView.of(registry.status(service.service_id))
    return answer(view, HTTPStatus.CREATED, Location=f"{PATH}/{service.service_id}") if new else answer(view)


async def list_all(request: web.Request) -> web.Response:
    """List services.

    All registered services, sorted by id.
    """
    statuses = request.app[REGISTRY].statuses()
    return answer(ServiceList(services=[ServiceView.of(status) for status in statuses]))


async def show(request: web.Request) -> web.Response:
    """Get a service.

    A registered service and its current status.
    """
    return answer(ServiceView.of(request.app[REGISTRY].status(request.match_info["service_id"])))


async def remove(request: web.Request) -> web.Response:
    """Remove a service.

    It receives no further invites. Running sessions are not affected.
    """
    service_id, asked = request.match_info["service_id"], read_query(request, InstanceQuery)
    refuse_others(request, service_id)
    return answer(ServiceView.of(request.app[REGISTRY].remove(service_id, endpoint=asked.endpoint)))


async def heartbeat(request: web.Request) -> web.Response:
    """Renew the lease of a service.

    404 when the service is not registered: it should register again.
    """
    service_id, asked = request.match_info["service_id"], read_query(request, InstanceQuery)
    reported = await read_body(request, Heartbeat) if request.can_read_body else Heartbeat()
    refuse_others(request, service_id)
    status = request.app[REGISTRY].heartbeat(
        service_id, load=reported.load, draining=reported.draining, endpoint=asked.endpoint
    )
    return answer(ServiceView.of(status))
