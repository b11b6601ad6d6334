"""Every operation of the API: what serves it, who may use it, what it takes and gives.

The one table from which requests are served (app.py) and the OpenAPI document is made (openapi.py).
"""

from __future__ import annotations

from http import HTTPStatus

from http_api import health, microservices, ready, schemas, sessions, views, webhooks
from http_api.callers import Access
from http_api.errors import NoToken, NotReady, RoomUnavailable, ServiceOut, SessionOver, Unready
from http_api.operations import Answer, Operation, Tag
from manager_agent import messages
from manager_agent.probe import ProbeFailed
from manager_agent.services import NotAvailable, OtherInstance, StaticService, UnknownService
from manager_agent.store import RoomNameTaken, UnknownSession

OK, CREATED, ACCEPTED = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED

SESSION = sessions.PATH + "/{session_id}"
SERVICE = microservices.PATH + "/{service_id}"

PREFER = {"Prefer": "`wait=N`: an answer within N seconds, at most 60; `respond-async`: at once (RFC 7240)"}
LOCATION = {"Location": "where it is found from now on"}
APPLIED = {"Preference-Applied": "what was heeded of `Prefer`"}

SESSIONS = (
    Operation(
        "POST", sessions.PATH, sessions.create, Tag.SESSIONS, Access.SESSIONS,
        {
            CREATED: Answer("ready, with the token", views.SessionWithToken, headers=LOCATION | APPLIED),
            ACCEPTED: Answer("not ready yet; it goes on", views.SessionView, headers=LOCATION | APPLIED),
        },
        (RoomNameTaken, NotAvailable, NotReady, RoomUnavailable, SessionOver, Unready),
        body=schemas.CreateSession, headers=PREFER, creates=True,
    ),
    Operation(
        "GET", sessions.PATH, sessions.list_all, Tag.SESSIONS, Access.SESSIONS,
        {OK: Answer("a page of sessions", views.SessionList)},
        query=schemas.ListSessions,
    ),
    Operation(
        "GET", SESSION, sessions.show, Tag.SESSIONS, Access.SESSIONS,
        {OK: Answer("the session; with a token while it is ready or active", views.SessionView)},
        (UnknownSession,),
    ),
    Operation(
        "DELETE", SESSION, sessions.close, Tag.SESSIONS, Access.SESSIONS,
        {OK: Answer("the session, which is over", views.SessionView)},
        (UnknownSession,),
    ),
    Operation(
        "POST", SESSION + "/token", sessions.give_token, Tag.TOKENS, Access.SESSIONS,
        {OK: Answer("the session, with a fresh token", views.SessionWithToken)},
        (UnknownSession, NoToken),
    ),
    Operation(
        "POST", SESSION + "/ready", ready.say_ready, Tag.SERVICES, Access.OWN_PROOF,
        {OK: Answer("heard", messages.Answer)},
        (UnknownSession, SessionOver, ServiceOut),
        body=schemas.SayReady,
    ),
)  # fmt: skip

SERVICES = (
    Operation(
        "POST", microservices.PATH + "/register", microservices.register, Tag.SERVICES, Access.SERVICES,
        {
            CREATED: Answer("new", views.ServiceView, headers=LOCATION),
            OK: Answer("it replaces the one that was registered", views.ServiceView),
        },
        (StaticService,),
        body=schemas.RegisterService,
    ),
    Operation(
        "GET", microservices.PATH, microservices.list_all, Tag.SERVICES, Access.SERVICES,
        {OK: Answer("all of them, by id", views.ServiceList)},
    ),
    Operation(
        "GET", SERVICE, microservices.show, Tag.SERVICES, Access.SERVICES,
        {OK: Answer("the service", views.ServiceView)},
        (UnknownService,),
    ),
    Operation(
        "DELETE", SERVICE, microservices.remove, Tag.SERVICES, Access.SERVICES,
        {OK: Answer("the service, as it was", views.ServiceView)},
        (UnknownService, OtherInstance, StaticService),
        query=schemas.InstanceQuery,
    ),
    Operation(
        "POST", SERVICE + "/heartbeat", microservices.heartbeat, Tag.SERVICES, Access.SERVICES,
        {OK: Answer("the service", views.ServiceView)},
        (UnknownService, OtherInstance),
        body=schemas.Heartbeat, needs_body=False, query=schemas.InstanceQuery,
    ),
)  # fmt: skip

RUNNING = (
    Operation(
        "GET", "/health", health.health, Tag.OPERATIONS, Access.PUBLIC,
        {OK: Answer("it answers; with `deep`, a session can be had", health.Health)},
        (ProbeFailed,), query=schemas.HealthQuery,
    ),
    Operation(
        "GET", "/livez", health.livez, Tag.OPERATIONS, Access.PUBLIC,
        {OK: Answer("the event loop turns", health.Alive)},
    ),
    Operation(
        "GET", "/readyz", health.readyz, Tag.OPERATIONS, Access.PUBLIC,
        {OK: Answer("it may be sent requests", health.Alive)},
        (Unready,),
    ),
    Operation(
        "POST", "/livekit/webhook", webhooks.receive, Tag.OPERATIONS, Access.OWN_PROOF,
        {OK: Answer("taken")},
    ),
)  # fmt: skip

OPERATIONS = (*SESSIONS, *SERVICES, *RUNNING)
