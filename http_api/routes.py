"""Every operation of the API: what serves it, who may use it, what it takes and gives.

The one table from which requests are served (app.py) and the OpenAPI document is made (openapi/).
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api.access.principals import Permission, Proof
from http_api.errors import (
    Forbidden,
    IdentityTaken,
    KeysUnavailable,
    MalformedBody,
    NoToken,
    NotReady,
    OtherCaller,
    Overloaded,
    RateLimited,
    RoomUnavailable,
    ServiceOut,
    SessionOver,
    SlowBody,
    TooManyStreams,
    Unauthorized,
    Unready,
)
from http_api.models import requests, responses
from http_api.models import timeline as timeline_models
from http_api.models import token_source as token_source_models
from http_api.operations import Media, Operation, ResponseSpec, Tag
from http_api.protocol import server_timing
from http_api.resources import (
    callbacks,
    health,
    metrics,
    microservices,
    participants,
    ready,
    sessions,
    timeline,
    token_source,
    webhooks,
)
from http_api.streams import feed, session_events
from http_api.streams import models as feed_views
from http_api.web import dashboard, docs
from manager_agent import messages
from manager_agent.control.probe import ProbeFailed
from manager_agent.registry.services import NotAvailable, OtherInstance, StaticService, UnknownService
from manager_agent.store.store import RoomNameTaken, UnknownSession
from manager_agent.traceparent import TRACEPARENT, TRACESTATE

OK, CREATED, ACCEPTED = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED
NO_CONTENT, NOT_MODIFIED = HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED

SESSION = sessions.PATH + "/{session_id}"
SERVICE = microservices.PATH + "/{service_id}"

PREFER = {"Prefer": "`wait=N`: an answer within N seconds, at most 60; `respond-async`: at once (RFC 7240)"}
LOCATION = {"Location": "where it is found from now on"}
APPLIED = {"Preference-Applied": "what was heeded of `Prefer`"}
WAIT = {
    "If-None-Match": "the `ETag` of what is known: 304 if that is still so (RFC 9110)",
    "Prefer": "`wait=N`: wait for the next change, or without `If-None-Match` until it is decided, at most 60 seconds",
}
TAG = {"ETag": '`W/"<revision>"`; weak, as each answer to its owner has a token of its own'}
IDEMPOTENCY = {
    "Idempotency-Key": "1 to 255 visible ASCII characters of the client's choice: the same request sent again with it, "
    "within 24 hours, is not done again, and gets the same answer"
}
REPLAYED = {"Idempotency-Replayed": "`true` when an earlier request with the same `Idempotency-Key` was answered so"}
TIMING = {server_timing.HEADER: server_timing.SAYS}
MADE = LOCATION | APPLIED | TAG | REPLAYED | TIMING
TRACE = {
    TRACEPARENT: "the trace that the session is to be part of (W3C Trace Context); what is none counts for nothing",
    TRACESTATE: "what belongs to it, at most 512 characters",
}
SEEN = {"Last-Event-ID": "the revision that was seen last; an EventSource sends it when it comes back"}
KNOWN_FILE = {"If-None-Match": "the `ETag` of the copy that is known: 304 if it is still the same (RFC 9110)"}
FILE_TAG = {"ETag": "changes with what is in it"}
KNOWN = "it is still the same"

SESSIONS = (
    Operation(
        "sessions_create", "POST", sessions.PATH, sessions.create, Tag.SESSIONS, Permission.SESSIONS,
        {
            CREATED: ResponseSpec("ready, with the token", responses.SessionWithToken, headers=MADE),
            ACCEPTED: ResponseSpec("not ready yet; it goes on", responses.SessionView, headers=MADE),
        },
        (RoomNameTaken, NotAvailable, NotReady, RoomUnavailable, SessionOver, Unready),
        body=requests.CreateSession, headers=PREFER | IDEMPOTENCY | TRACE, is_idempotent=True, creates=True,
    ),
    Operation(
        "sessions_list_all", "GET", sessions.PATH, sessions.list_all, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("a page of sessions", responses.SessionList)},
        query=requests.ListSessions,
    ),
    Operation(
        "sessions_show", "GET", SESSION, sessions.show, Tag.SESSIONS, Permission.SESSIONS,
        {
            OK: ResponseSpec(
                "the session; with a token while it is ready or active",
                responses.SessionWithToken | responses.SessionView,
                headers=APPLIED | TAG,
            ),
            NOT_MODIFIED: ResponseSpec("it still has the revision that is known", headers=APPLIED | TAG),
        },
        (UnknownSession, Overloaded), headers=WAIT,
    ),
    Operation(
        "events_follow", "GET", SESSION + "/events", session_events.follow, Tag.SESSIONS, Permission.SESSIONS,
        {
            OK: ResponseSpec("the session as it is, and again after each change", responses.SessionView, Media.EVENTS),
            NO_CONTENT: ResponseSpec("it is over, and that was seen"),
        },
        (UnknownSession, TooManyStreams, Overloaded), headers=SEEN,
    ),
    Operation(
        "timelines_show", "GET", SESSION + "/timeline", timeline.show, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("what has become of it so far", timeline_models.TimelineView)},
        (UnknownSession,),
    ),
    Operation(
        "sessions_close", "DELETE", SESSION, sessions.close, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("the session, which is over", responses.SessionView, headers=TAG)},
        (UnknownSession,),
    ),
    Operation(
        "sessions_give_token", "POST", SESSION + "/token", sessions.give_token, Tag.TOKENS, Permission.SESSIONS,
        {OK: ResponseSpec("the session, with a fresh token", responses.SessionWithToken, headers=TAG)},
        (UnknownSession, NoToken),
    ),
    Operation(
        "participants_add", "POST", SESSION + "/participants", participants.add, Tag.TOKENS, Permission.SESSIONS,
        {CREATED: ResponseSpec("who may join, with the token", responses.ParticipantView)},
        (UnknownSession, NoToken, IdentityTaken),
        body=requests.AddParticipant,
    ),
    Operation(
        "token_source_give", "POST", token_source.PATH, token_source.give, Tag.TOKENS, Permission.FRONT_END,
        {CREATED: ResponseSpec("ready, with the token", token_source_models.TokenResponse)},
        (
            RoomNameTaken, NotAvailable, NotReady, RoomUnavailable, SessionOver, Unready, Overloaded, Forbidden,
            IdentityTaken,
        ),
        body=token_source_models.TokenRequest, needs_body=False, headers=TRACE, creates=True,
    ),
    Operation(
        "ready_say_ready", "POST", SESSION + "/ready", ready.say_ready, Tag.SERVICES, Permission.OWN_PROOF,
        {OK: ResponseSpec("heard", messages.Answer)},
        (UnknownSession, SessionOver, ServiceOut, Forbidden),
        body=requests.SayReady, proof=Proof.INVITE,
    ),
)  # fmt: skip

FEED = (
    Operation(
        "feed_follow", "GET", feed.PATH, feed.follow, Tag.SESSIONS, Permission.SESSIONS,
        {
            OK: ResponseSpec(
                "everything as it is, and again what changes", feed_views.Told, Media.EVENTS,
                events=tuple(feed_views.FeedEvent),
            ),
        },
        (TooManyStreams, Overloaded),
    ),
)  # fmt: skip

CALLBACKS = (
    Operation(
        "callbacks_list_all", "GET", callbacks.PATH, callbacks.list_all, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("the last 100, newest first", callbacks.CallbackList)},
    ),
)  # fmt: skip

SERVICES = (
    Operation(
        "microservices_register", "POST", microservices.PATH + "/register", microservices.register,
        Tag.SERVICES, Permission.SERVICES,
        {
            CREATED: ResponseSpec("new", responses.ServiceView, headers=LOCATION | REPLAYED),
            OK: ResponseSpec("it replaces the one that was registered", responses.ServiceView, headers=REPLAYED),
        },
        (StaticService, OtherCaller),
        body=requests.RegisterService, headers=IDEMPOTENCY, is_idempotent=True,
    ),
    Operation(
        "microservices_list_all", "GET", microservices.PATH, microservices.list_all, Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("all of them, by id", responses.ServiceList)},
    ),
    Operation(
        "microservices_show", "GET", SERVICE, microservices.show, Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("the service", responses.ServiceView)},
        (UnknownService,),
    ),
    Operation(
        "microservices_remove", "DELETE", SERVICE, microservices.remove, Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("the service, as it was", responses.ServiceView)},
        (UnknownService, OtherInstance, StaticService, OtherCaller),
        query=requests.InstanceQuery,
    ),
    Operation(
        "microservices_heartbeat", "POST", SERVICE + "/heartbeat", microservices.heartbeat,
        Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("the service", responses.ServiceView)},
        (UnknownService, OtherInstance, OtherCaller),
        body=requests.Heartbeat, needs_body=False, query=requests.InstanceQuery,
    ),
)  # fmt: skip

RUNNING = (
    Operation(
        "health_health", "GET", "/health", health.health, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("it answers; with `deep`, a session can be had", responses.Health | responses.Proven)},
        (ProbeFailed, Unauthorized, Forbidden, KeysUnavailable, RateLimited), query=requests.HealthQuery, is_vital=True,
    ),
    Operation(
        "health_livez", "GET", "/livez", health.livez, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("the event loop turns", responses.Alive)}, is_vital=True,
    ),
    Operation(
        "health_readyz", "GET", "/readyz", health.readyz, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("it may be sent requests", responses.Alive)},
        (Unready,), is_vital=True,
    ),
    Operation(
        "scrape_metrics", "GET", "/metrics", metrics.metrics, Tag.OPERATIONS, Permission.METRICS,
        {OK: ResponseSpec("what was measured", media=Media.TEXT)},
    ),
    Operation(
        "webhooks_receive", "POST", "/livekit/webhook", webhooks.receive, Tag.OPERATIONS, Permission.OWN_PROOF,
        {OK: ResponseSpec("taken")}, (MalformedBody, web.HTTPRequestEntityTooLarge, SlowBody),
        proof=Proof.SIGNATURE, is_vital=True,
    ),
)  # fmt: skip

DOCS = (
    Operation(
        "docs_openapi", "GET", "/openapi.json", docs.openapi, Tag.OPERATIONS, Permission.PUBLIC,
        {
            OK: ResponseSpec("the document", docs.OpenApi, headers=FILE_TAG),
            NOT_MODIFIED: ResponseSpec(KNOWN, headers=FILE_TAG),
        },
        headers=KNOWN_FILE,
    ),
    Operation(
        "docs_page", "GET", "/docs", docs.page, Tag.OPERATIONS, Permission.PUBLIC,
        {
            OK: ResponseSpec("the page", media=Media.HTML, headers=FILE_TAG),
            NOT_MODIFIED: ResponseSpec(KNOWN, headers=FILE_TAG),
        },
        headers=KNOWN_FILE,
    ),
    Operation(
        "docs_asset", "GET", "/docs/{file}", docs.asset, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("the file")}, is_documented=False,
    ),
)  # fmt: skip

DASHBOARD = (
    Operation(
        "dashboard_page", "GET", "/", dashboard.page, Tag.OPERATIONS, Permission.PUBLIC,
        {
            OK: ResponseSpec("the page", media=Media.HTML, headers=FILE_TAG),
            NOT_MODIFIED: ResponseSpec(KNOWN, headers=FILE_TAG),
        },
        headers=KNOWN_FILE,
    ),
    Operation(
        "dashboard_asset", "GET", "/dashboard/{file}", dashboard.asset, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("the file")}, is_documented=False,
    ),
)  # fmt: skip

OPERATIONS = (*SESSIONS, *FEED, *CALLBACKS, *SERVICES, *RUNNING, *DOCS, *DASHBOARD)
