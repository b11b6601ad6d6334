"""Errors as problem+json: every error stands in the table, and nothing leaks."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from aiohttp import web

from http_api import errors
from http_api.access.principals import Scope
from http_api.errors import FIELDS_MAX, FieldError, Invalid
from http_api.problems.problems import CONTENT_TYPE, TABLE, problem, row_for, row_of
from http_api.problems.table import TYPE, UNEXPECTED
from http_api.resources.ownership import state_of
from http_api.resources.session_requests import services_of
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.tokens import InvalidToken, TokenTooLong
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import (
    NotAvailable,
    OtherInstance,
    RegisteredService,
    StaticService,
    UnknownService,
)
from manager_agent.session import events as ev
from manager_agent.session.counts import SessionCounts
from manager_agent.session.required_service import Requirement
from manager_agent.store.store import RoomNameTaken, UnknownSession
from tests.unit import sessions as given

pytestmark = pytest.mark.unit


def shown(error: BaseException) -> tuple[web.Response, dict[str, Any]]:
    response = problem(error, path="/x", request_id="req_1")
    assert response.content_type == CONTENT_TYPE
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    assert (body["status"], body["instance"], body["request_id"]) == (response.status, "/x", "req_1")
    assert body["type"].startswith(TYPE)
    assert body["title"]
    shape = row_for(error).shape
    assert shape.model_validate(body)
    assert body.keys() == shape.model_fields.keys()
    return response, body


def not_available() -> NotAvailable:
    registry = Registry(lambda: given.START, SessionCounts())
    registry.register(RegisteredService("here", "ASR", "http://here/"))
    wanted = [Requirement("here"), Requirement("gone"), Requirement(type="TTS"), Requirement("x", optional=True)]
    with pytest.raises(NotAvailable) as caught:
        registry.choose(wanted)
    return caught.value


def failed(reason_at: float = given.START + 31) -> Any:
    return given.after(given.a_session(given.JOINS), *given.created(), ev.DeadlinePassed(reason_at))


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (errors.MalformedRequest("x"), 400, "malformed_request"),
        (errors.MalformedBody("x"), 400, "malformed_body"),
        (web.RequestPayloadError(), 400, "malformed_body"),
        (errors.Unauthorized("x"), 401, "unauthorized"),
        (InvalidToken("x"), 401, "unauthorized"),
        (errors.Forbidden("x"), 403, "forbidden"),
        (web.HTTPNotFound(), 404, "not_found"),
        (UnknownSession("x"), 404, "unknown_session"),
        (UnknownService("x"), 404, "unknown_service"),
        (web.HTTPMethodNotAllowed("PUT", ["GET", "POST"]), 405, "method_not_allowed"),
        (errors.SlowBody("x"), 408, "slow_body"),
        (RoomNameTaken("demo", 29.3), 409, "room_name_taken"),
        (OtherInstance("x"), 409, "other_instance"),
        (StaticService("x"), 409, "static_service"),
        (errors.NoToken(*state_of(given.a_session())), 409, "no_token"),
        (errors.TooManyStreams(1), 429, "too_many_streams"),
        (errors.IdentityTaken("x"), 409, "identity_taken"),
        (errors.OtherCaller("x"), 409, "other_caller"),
        (errors.NotBelieved("x"), 401, "unauthorized"),
        (errors.MissingScope(Scope.ADMIN), 403, "forbidden"),
        (errors.KeysUnavailable(), 503, "keys_unavailable"),
        (errors.SessionOver(*state_of(failed())), 409, "session_over"),
        (errors.ServiceOut(given.JOINS.service_id, given.JOINS.state), 409, "service_out"),
        (errors.BodyTooLarge(1), 413, "body_too_large"),
        (errors.UnsupportedBody("text/plain"), 415, "unsupported_media_type"),
        (web.HTTPExpectationFailed(), 417, "expectation_failed"),
        (Invalid([FieldError("a", "b")]), 422, "invalid"),
        (TokenTooLong(50_000), 422, "token_too_long"),
        (not_available(), 424, "service_not_available"),
        (RuntimeError("the password is 1234"), 500, "internal_error"),
        (web.HTTPGone(), 500, "internal_error"),
        (LiveKitUnavailable("http://10.0.0.7:7880 refused"), 503, "room_unavailable"),
        (errors.RoomUnavailable(*services_of(given.a_session())), 503, "room_unavailable"),
        (errors.Unready("x"), 503, "unready"),
        (errors.NotReady(*services_of(failed()), "total;dur=31000.0"), 504, "not_ready"),
    ],
)
def test_each_error_has_its_status_and_problem_type(error: BaseException, status: int, slug: str) -> None:
    response, body = shown(error)
    assert (response.status, body["type"]) == (status, TYPE + slug)
    assert "1234" not in str(body)
    assert "10.0.0.7" not in str(body)


def test_every_error_class_stands_in_the_problem_table() -> None:
    """Itself, or one of its parents."""
    ours = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    assert {kind for kind in ours if row_of(kind) is UNEXPECTED} == set()


def test_a_subclass_of_an_error_has_the_problem_of_its_parent() -> None:
    class Worse(errors.Forbidden):
        pass

    assert row_for(Worse()) is TABLE[errors.Forbidden]
    assert row_for(KeyError()) is UNEXPECTED


@pytest.mark.parametrize("seconds", [(0.1, "1"), (29.3, "30")])
def test_the_problem_of_a_taken_room_name_says_when_to_try_again(seconds: tuple[float, str]) -> None:
    assert shown(RoomNameTaken("demo", seconds[0]))[0].headers["Retry-After"] == seconds[1]


def test_problems_have_the_headers_that_their_status_requires() -> None:
    assert shown(web.HTTPMethodNotAllowed("PUT", ["GET", "POST"]))[0].headers["Allow"] == "GET,POST"
    assert shown(errors.Unauthorized("x"))[0].headers["WWW-Authenticate"] == "Bearer"
    assert shown(LiveKitUnavailable("x"))[0].headers["Retry-After"] == "2"
    assert shown(errors.Unready("x"))[0].headers["Cache-Control"] == "no-store"


def test_bad_fields_are_listed_up_to_a_limit() -> None:
    assert shown(Invalid([FieldError("a[0]", "b")]))[1]["errors"] == [{"field": "a[0]", "detail": "b"}]
    _, body = shown(Invalid([FieldError(str(n), "x") for n in range(5_000)]))
    assert len(body["errors"]) == FIELDS_MAX
    assert "5000" in body["detail"]


def test_unavailable_services_are_named_with_their_reason() -> None:
    services = shown(not_available())[1]["services"]
    assert [(s["service_id"], s["type"], s["reason"]) for s in services] == [
        ("here", None, None),
        ("gone", None, "not_registered"),
        (None, "TTS", "not_registered"),
        ("x", None, None),
    ]


def test_the_problem_not_ready_names_every_service_and_has_no_token() -> None:
    _, body = shown(errors.NotReady(*services_of(failed()), "total;dur=31000.0"))
    assert (body["session_id"], body["reason"]) == ("s1", "ready_timeout")
    assert [(s["service_id"], s["state"], s["reason"]) for s in body["services"]] == [
        ("asr-service", "pending", "never_joined")
    ]
    assert "asr-service: never_joined" in body["detail"]
    assert "access_token" not in body
