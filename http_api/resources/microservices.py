"""/api/v1/microservices: the services that can be invited."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from aiohttp import web

from http_api.access.principals import Scope
from http_api.app_keys import CLOCK, INVITE_ADDRESSES, RECORDS, REGISTRY
from http_api.errors import MissingScope
from http_api.limits.quotas import SERVICE_QUOTAS
from http_api.limits.registrations_begun import registering
from http_api.models.queries import InstanceQuery
from http_api.models.responses import RegisteredServiceView, ServiceList, ServiceView, answer, answer_list
from http_api.models.services import Heartbeat, RegisterService
from http_api.protocol.bodies import read_body, read_query
from http_api.replica import require_writes
from http_api.request_context import PRINCIPAL
from http_api.resources.ownership import (
    refuse_agent_of_others,
    refuse_others,
    refuse_taken,
    refuse_unseen,
    sees_service,
    service_view,
)

PATH = "/api/v1/microservices"


async def register(request: web.Request) -> web.Response:
    """Register a service.

    201 when it is new, 200 when it replaces the caller's service of the same id; 409 when the id or the `agent_name` is
    another caller's. The `warning` says if no invite can reach the endpoint.
    Only the caller's own sessions can use the service, unless it is `shared`, which requires the scope `admin`. With
    `lease_seconds` the service is removed unless its lease is renewed in time.
    """
    body = await read_body(request, RegisterService, address_policy=request.app[INVITE_ADDRESSES])
    if body.shared and not request[PRINCIPAL].is_admin:
        raise MissingScope(Scope.ADMIN)
    registry = request.app[REGISTRY]
    service = replace(body.service(request.app[CLOCK]()), owner=request[PRINCIPAL].name)
    async with registering(request.app, service) as begun:
        refuse_taken(request, body.service_id, begun)
        refuse_agent_of_others(request, body.agent_name, begun)
        request.app[SERVICE_QUOTAS].check(service.owner, service.service_id, begun)
        new = registry.register(service)
        view = service_view(request[PRINCIPAL], registry.status(service.service_id))
        await request.app[RECORDS].committed()
    warning = None if service.endpoint is None else request.app[INVITE_ADDRESSES].doubt(service.endpoint)
    view = RegisteredServiceView.warned(view, warning)
    return answer(view, HTTPStatus.CREATED, Location=f"{PATH}/{service.service_id}") if new else answer(view)


async def list_all(request: web.Request) -> web.Response:
    """List services.

    The caller's own services and the shared ones, sorted by id; with scope `admin` those of all callers. The endpoints
    of shared services are null for others than their owner.
    """
    statuses, principal = request.app[REGISTRY].statuses(), request[PRINCIPAL]
    seen = (status for status in statuses if sees_service(principal, status.service))
    items = (ServiceView.json_of(one, shows_endpoint=principal.sees(one.service.owner)) for one in seen)
    return await answer_list(ServiceList(services=[]), "services", items)


async def show(request: web.Request) -> web.Response:
    """Get a service.

    A service of the caller, or a shared one, and its current status.
    """
    service_id = request.match_info["service_id"]
    refuse_unseen(request, service_id)
    return answer(service_view(request[PRINCIPAL], request.app[REGISTRY].status(service_id)))


async def remove(request: web.Request) -> web.Response:
    """Remove a service.

    It receives no further invites. Running sessions are not affected.
    """
    service_id, asked = request.match_info["service_id"], read_query(request, InstanceQuery)
    await require_writes(request.app)
    refuse_others(request, service_id)
    status = request.app[REGISTRY].remove(service_id, endpoint=asked.endpoint)
    await request.app[RECORDS].committed()
    return answer(service_view(request[PRINCIPAL], status))


async def heartbeat(request: web.Request) -> web.Response:
    """Renew the lease of a service.

    404 when the service is not registered: it should register again.
    """
    service_id, asked = request.match_info["service_id"], read_query(request, InstanceQuery)
    reported = await read_body(request, Heartbeat) if request.can_read_body else Heartbeat()
    if reported.draining is not None:
        await require_writes(request.app)
    refuse_others(request, service_id)
    status = request.app[REGISTRY].heartbeat(
        service_id, load=reported.load, draining=reported.draining, endpoint=asked.endpoint
    )
    if reported.draining is not None:
        await request.app[RECORDS].committed()
    return answer(service_view(request[PRINCIPAL], status))
