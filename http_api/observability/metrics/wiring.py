"""Ties what is measured to the parts of the application in which it happens."""

from __future__ import annotations

from aiohttp import web

from http_api import keys
from http_api.observability.metrics.state import State
from http_api.problems.problems import TABLE, UNEXPECTED


def wire(app: web.Application) -> None:
    """For an application that has all its parts, once. Who stands in the SERVICES_FILE comes before all others where
    values of labels are bounded."""
    metrics, registry, profiles = app[keys.METRICS], app[keys.REGISTRY], app[keys.PROFILES]
    app[keys.STORE].listen(metrics.sessions.hear)
    for service in registry.list():
        metrics.sessions.expect_type(service.type)
    for profile in ("", *profiles):
        metrics.sessions.expect_profile(profile)
    operations = {handler: operation.id for handler, operation in app[keys.OPERATIONS].items()}
    metrics.requests.expect(operations, (row.slug for row in (*TABLE.values(), UNEXPECTED)))
    state = State(
        store=app[keys.STORE],
        waiters=app[keys.WAITERS],
        agent=app[keys.AGENT],
        registry=registry,
        callbacks=app[keys.CALLBACKS],
        log_queue=lambda: app[keys.SHIPPER].stats,
        shown_type=metrics.sessions.expect_type,
        known_types=metrics.sessions.known_types,
    )
    metrics.registry.register(state)
