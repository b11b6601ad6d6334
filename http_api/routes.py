"""The table of operations: handler, permission, request and responses of each.

app.py serves requests from it, and openapi/ generates the OpenAPI document from it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp.typedefs import Handler

from http_api.access.principals import Permission, Proof
from http_api.errors import (
    BodyTooLarge,
    Forbidden,
    IdentityTaken,
    KeysUnavailable,
    MalformedBody,
    NoReplicas,
    NoToken,
    NotReady,
    OtherCaller,
    Overloaded,
    RateLimited,
    RoomUnavailable,
    ServiceOut,
    SessionOver,
    SlowBody,
    TooManyServices,
    TooManyStreams,
    Unauthorized,
    Unready,
)
from http_api.models import health as probes
from http_api.models import queries, responses, services
from http_api.models import sessions as session_models
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
    replicas,
    sessions,
    timeline,
    token_source,
    webhooks,
)
from http_api.streams import feed, session_events
from http_api.streams import models as feed_models
from http_api.web import dashboard, docs
from manager_agent import messages
from manager_agent.control.probe import ProbeFailed
from manager_agent.livekit.tokens import TokenTooLong
from manager_agent.registry.services import NotAvailable, OtherInstance, StaticService, UnknownService
from manager_agent.store.store import RoomNameTaken, UnknownSession
from manager_agent.traceparent import TRACEPARENT, TRACESTATE

OK, CREATED, ACCEPTED = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED
NO_CONTENT, NOT_MODIFIED = HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED

SESSION = sessions.PATH + "/{session_id}"
SERVICE = microservices.PATH + "/{service_id}"

PREFER = {"Prefer": "`wait=N`: respond within N seconds (at most 60); `respond-async`: respond at once (RFC 7240)"}
LOCATION = {"Location": "the path of the new resource"}
APPLIED = {"Preference-Applied": "the preferences of `Prefer` that were applied"}
WAIT = {
    "If-None-Match": "the `ETag` of an earlier response: 304 if the session has not changed since (RFC 9110)",
    "Prefer": "`wait=N`: wait up to N seconds (at most 60) for the next change, or, without `If-None-Match`, until the "
    "session is ready or over",
}
TAG = {"ETag": '`W/"<revision>"`; weak, because each response to the owner contains a new token'}
IDEMPOTENCY = {
    "Idempotency-Key": "1 to 255 visible ASCII characters, chosen by the client. A request repeated with the same key "
    "within 24 hours is not executed again and gets the same response"
}
REPLAYED = {"Idempotency-Replayed": "`true` if this is the stored response to an earlier request with the same key"}
TIMING = {server_timing.HEADER: server_timing.DESCRIPTION}
MADE = LOCATION | APPLIED | TAG | REPLAYED | TIMING
TRACE = {
    TRACEPARENT: "the trace to which the session belongs (W3C Trace Context); an invalid value is ignored",
    TRACESTATE: "the vendor-specific part of the trace context, at most 512 characters",
}
SEEN = {"Last-Event-ID": "the last revision received; an EventSource sends it when it reconnects"}
KNOWN_FILE = {"If-None-Match": "the `ETag` of the client's copy: 304 if it is current (RFC 9110)"}
FILE_TAG = {"ETag": "changes with the content"}

SESSIONS = (
    Operation(
        "sessions_create", "POST", sessions.PATH, sessions.create, Tag.SESSIONS, Permission.SESSIONS,
        {
            CREATED: ResponseSpec("the session is ready; with the token", responses.SessionWithToken, headers=MADE),
            ACCEPTED: ResponseSpec("the session is not ready yet and continues", responses.SessionView, headers=MADE),
        },
        (RoomNameTaken, NotAvailable, NotReady, RoomUnavailable, SessionOver, Unready, TokenTooLong),
        body=session_models.CreateSession, headers=PREFER | IDEMPOTENCY | TRACE, is_idempotent=True, creates=True,
    ),
    Operation(
        "sessions_list_all", "GET", sessions.PATH, sessions.list_all, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("a page of sessions", responses.SessionList)},
        query=queries.ListSessions,
    ),
    Operation(
        "sessions_show", "GET", SESSION, sessions.show, Tag.SESSIONS, Permission.SESSIONS,
        {
            OK: ResponseSpec(
                "the session, with a token while it is ready or active",
                responses.SessionWithToken | responses.SessionView,
                headers=APPLIED | TAG,
            ),
            NOT_MODIFIED: ResponseSpec("the session still has the known revision", headers=APPLIED | TAG),
        },
        (UnknownSession, Overloaded), headers=WAIT,
    ),
    Operation(
        "events_follow", "GET", SESSION + "/events", session_events.follow, Tag.SESSIONS, Permission.SESSIONS,
        {
            OK: ResponseSpec("the session now, and again after each change", responses.SessionView, Media.EVENTS),
            NO_CONTENT: ResponseSpec("the session is over and the client has its final revision"),
        },
        (UnknownSession, TooManyStreams, Overloaded), headers=SEEN,
    ),
    Operation(
        "timelines_show", "GET", SESSION + "/timeline", timeline.show, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("the timeline so far", timeline_models.TimelineView)},
        (UnknownSession,),
    ),
    Operation(
        "sessions_close", "DELETE", SESSION, sessions.close, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("the ended session", responses.SessionView, headers=TAG)},
        (UnknownSession,),
    ),
    Operation(
        "sessions_give_token", "POST", SESSION + "/token", sessions.give_token, Tag.TOKENS, Permission.SESSIONS,
        {OK: ResponseSpec("the session, with a fresh token", responses.SessionWithToken, headers=TAG)},
        (UnknownSession, NoToken),
    ),
    Operation(
        "participants_add", "POST", SESSION + "/participants", participants.add, Tag.TOKENS, Permission.SESSIONS,
        {CREATED: ResponseSpec("the participant, with the token", responses.ParticipantView)},
        (UnknownSession, NoToken, IdentityTaken, TokenTooLong),
        body=session_models.AddParticipant,
    ),
    Operation(
        "token_source_give", "POST", token_source.PATH, token_source.give, Tag.TOKENS, Permission.FRONT_END,
        {CREATED: ResponseSpec("the session is ready; with the token", token_source_models.TokenResponse)},
        (
            RoomNameTaken, NotAvailable, NotReady, RoomUnavailable, SessionOver, Unready, Overloaded, Forbidden,
            IdentityTaken, TokenTooLong,
        ),
        body=token_source_models.TokenRequest, needs_body=False, headers=TRACE, creates=True,
    ),
    Operation(
        "ready_say_ready", "POST", SESSION + "/ready", ready.say_ready, Tag.SERVICES, Permission.OWN_PROOF,
        {OK: ResponseSpec("the service is ready", messages.Answer)},
        (UnknownSession, SessionOver, ServiceOut, Forbidden),
        body=session_models.SayReady, proof=Proof.INVITE,
    ),
)  # fmt: skip

FEED = (
    Operation(
        "feed_follow", "GET", feed.PATH, feed.follow, Tag.SESSIONS, Permission.SESSIONS,
        {
            OK: ResponseSpec(
                "the current state, then every change", feed_models.EventData, Media.EVENTS,
                events=tuple(feed_models.FeedEvent),
            ),
        },
        (TooManyStreams, Overloaded),
    ),
)  # fmt: skip

CALLBACKS = (
    Operation(
        "callbacks_list_all", "GET", callbacks.PATH, callbacks.list_all, Tag.SESSIONS, Permission.SESSIONS,
        {OK: ResponseSpec("the last 100 deliveries, newest first", callbacks.CallbackList)},
    ),
)  # fmt: skip

SERVICES = (
    Operation(
        "microservices_register", "POST", microservices.PATH + "/register", microservices.register,
        Tag.SERVICES, Permission.SERVICES,
        {
            CREATED: ResponseSpec("registered", responses.RegisteredServiceView, headers=LOCATION | REPLAYED),
            OK: ResponseSpec(
                "registered, replacing an earlier one", responses.RegisteredServiceView, headers=REPLAYED
            ),
        },
        (StaticService, OtherCaller, TooManyServices, Overloaded),
        body=services.RegisterService, headers=IDEMPOTENCY, is_idempotent=True,
    ),
    Operation(
        "microservices_list_all", "GET", microservices.PATH, microservices.list_all, Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("all services, sorted by id", responses.ServiceList)},
    ),
    Operation(
        "microservices_show", "GET", SERVICE, microservices.show, Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("the service", responses.ServiceView)},
        (UnknownService,),
    ),
    Operation(
        "microservices_remove", "DELETE", SERVICE, microservices.remove, Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("the removed service", responses.ServiceView)},
        (UnknownService, OtherInstance, StaticService, OtherCaller),
        query=queries.InstanceQuery,
    ),
    Operation(
        "microservices_heartbeat", "POST", SERVICE + "/heartbeat", microservices.heartbeat,
        Tag.SERVICES, Permission.SERVICES,
        {OK: ResponseSpec("the service", responses.ServiceView)},
        (UnknownService, OtherInstance, OtherCaller),
        body=services.Heartbeat, needs_body=False, query=queries.InstanceQuery,
    ),
)  # fmt: skip

RUNNING = (
    Operation(
        "health_health", "GET", "/health", health.health, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("the server responds; with `deep`, the probe passed", probes.Health | probes.Proven)},
        (ProbeFailed, Unauthorized, Forbidden, KeysUnavailable, RateLimited), query=queries.HealthQuery, is_vital=True,
    ),
    Operation(
        "health_livez", "GET", "/livez", health.livez, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("the process is alive", probes.Alive)}, is_vital=True,
    ),
    Operation(
        "health_readyz", "GET", "/readyz", health.readyz, Tag.OPERATIONS, Permission.PUBLIC,
        {OK: ResponseSpec("the process is ready for requests", probes.Ready)},
        (Unready,), is_vital=True,
    ),
    Operation(
        "replicas_drain", "POST", replicas.PATH + "/drain", replicas.drain, Tag.OPERATIONS, Permission.ADMIN,
        {ACCEPTED: ResponseSpec("the replica drains", probes.Draining)}, (NoReplicas,),
    ),
    Operation(
        "scrape_metrics", "GET", "/metrics", metrics.metrics, Tag.OPERATIONS, Permission.METRICS,
        {OK: ResponseSpec("the metrics", media=Media.TEXT)},
    ),
    Operation(
        "webhooks_receive", "POST", "/livekit/webhook", webhooks.receive, Tag.OPERATIONS, Permission.OWN_PROOF,
        {OK: ResponseSpec("received")}, (MalformedBody, BodyTooLarge, SlowBody),
        proof=Proof.SIGNATURE, is_vital=True,
    ),
)  # fmt: skip


def _file(id: str, path: str, handler: Handler, what: str, **content: Any) -> Operation:
    """An operation to get a public file, which the client may keep and revalidate."""
    responses = {
        OK: ResponseSpec(what, headers=FILE_TAG, **content),
        NOT_MODIFIED: ResponseSpec("the client's copy is current", headers=FILE_TAG),
    }
    return Operation(id, "GET", path, handler, Tag.OPERATIONS, Permission.PUBLIC, responses, headers=KNOWN_FILE)


def _asset(id: str, path: str, handler: Handler) -> Operation:
    """An operation to get a file that only a page of ours needs."""
    responses = {OK: ResponseSpec("the file")}
    return Operation(id, "GET", path, handler, Tag.OPERATIONS, Permission.PUBLIC, responses, is_documented=False)


PAGES = (
    _file("docs_openapi", "/openapi.json", docs.openapi, "the OpenAPI document", view=docs.OpenApi),
    _file("docs_page", "/docs", docs.page, "the page", media=Media.HTML),
    _asset("docs_asset", "/docs/{file}", docs.asset),
    _file("dashboard_page", "/", dashboard.page, "the page", media=Media.HTML),
    _asset("dashboard_asset", "/dashboard/{file}", dashboard.asset),
)

OPERATIONS = (*SESSIONS, *FEED, *CALLBACKS, *SERVICES, *RUNNING, *PAGES)
