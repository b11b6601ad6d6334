"""Ties what is measured to the parts of the application in which it happens."""

from __future__ import annotations

from aiohttp import web

from http_api.limits.waiters import WAITERS
from http_api.manager_parts import AGENT, CALLBACKS, REGISTRY, STORE
from http_api.models.requests import PROFILES
from http_api.observability.metrics.metrics import METRICS
from http_api.observability.metrics.state import State
from http_api.observability.shipping.shipper import SHIPPER
from http_api.operations import OPERATIONS_BY_HANDLER
from http_api.problems.problems import TABLE, UNEXPECTED


def wire(app: web.Application) -> None:
    """For an application that has all its parts, once. Who stands in the SERVICES_FILE comes before all others where
    values of labels are bounded."""
    metrics, registry, profiles = app[METRICS], app[REGISTRY], app[PROFILES]
    app[STORE].listen(metrics.sessions.hear)
    for service in registry.list():
        metrics.sessions.expect_type(service.type)
    for profile in ("", *profiles):
        metrics.sessions.expect_profile(profile)
    operations = {handler: operation.id for handler, operation in app[OPERATIONS_BY_HANDLER].items()}
    metrics.requests.expect(operations, (row.slug for row in (*TABLE.values(), UNEXPECTED)))
    state = State(
        store=app[STORE],
        waiters=app[WAITERS],
        agent=app[AGENT],
        registry=registry,
        callbacks=app[CALLBACKS],
        log_queue=lambda: app[SHIPPER].stats,
        shown_type=metrics.sessions.expect_type,
        known_types=metrics.sessions.known_types,
    )
    metrics.registry.register(state)
