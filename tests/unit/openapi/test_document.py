"""The OpenAPI document: valid, whole, and the same each time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from pydantic import BaseModel

from http_api.access.principals import Permission
from http_api.app import create_app
from http_api.attribute_docstrings import attribute_docstrings
from http_api.bootstrap import compose
from http_api.models.responses import RegisteredServiceView, ServiceView
from http_api.openapi.answers import errors_of
from http_api.openapi.document import document, parts_of
from http_api.openapi.schemas import example_of, name_of
from http_api.operations import Media, Operation
from http_api.problems.problems import CONTENT_TYPE, TABLE, row_of
from http_api.problems.table import TYPE
from http_api.protocol.bodies import validated
from http_api.routes import OPERATIONS
from http_api.settings.settings import DevSettings

pytestmark = pytest.mark.unit

DOCUMENT = document(OPERATIONS)
DOCUMENTED = [operation for operation in OPERATIONS if operation.is_documented]
MODELS = dict.fromkeys(model for op in DOCUMENTED for model in (op.body, op.query) if model is not None)
EACH = pytest.mark.parametrize("operation", DOCUMENTED, ids=lambda operation: operation.id)


def told_of(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return told


def everything_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    inner: Iterator[Any] = iter(value.values()) if isinstance(value, dict) else iter(value)
    if isinstance(value, dict):
        yield from value.items()
    for item in inner:
        if isinstance(item, dict | list):
            yield from everything_in(item)


def schema_of(name: str) -> dict[str, Any]:
    """A component as a schema to validate with: all others are included."""
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def test_the_openapi_document_is_valid_and_survives_json() -> None:
    validate(json.loads(json.dumps(DOCUMENT)))


def test_the_openapi_document_is_the_same_each_time() -> None:
    assert json.dumps(document(OPERATIONS)) == json.dumps(DOCUMENT)


async def test_the_openapi_document_has_exactly_the_served_routes() -> None:
    app = create_app(compose(DevSettings(_env_file=None)))
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    hidden = {(operation.method, operation.path) for operation in OPERATIONS if not operation.is_documented}
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == served - hidden
    assert {path for _, path in hidden} <= {"/docs/{file}", "/dashboard/{file}"}


def test_every_openapi_reference_resolves() -> None:
    references = [value for key, value in everything_in(DOCUMENT) if key == "$ref"]
    assert references
    for reference in references:
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_every_openapi_operation_has_a_unique_id() -> None:
    ids = [operation.id for operation in DOCUMENTED]
    assert len(set(ids)) == len(ids)


@EACH
def test_every_operation_has_summary_description_and_tag(operation: Operation) -> None:
    told = told_of(operation)
    assert re.fullmatch(r"[A-Z].+\.", told["summary"]), "its handler has no docstring whose first line is a sentence"
    assert "curl" in told["description"]
    assert told["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert [p["name"] for p in told["parameters"] if p["in"] == "path"] == parts_of(operation.path)
    assert all(value for key, value in everything_in(told) if key == "description")


@pytest.mark.parametrize("declaring", [ServiceView, RegisteredServiceView])
def test_the_string_below_a_field_describes_it_also_where_it_is_inherited(declaring: type[BaseModel]) -> None:
    texts = attribute_docstrings(declaring)
    fields = DOCUMENT["components"]["schemas"]["RegisteredServiceView"]["properties"]
    assert texts
    assert [name for name, text in texts.items() if not fields[name].get("description", "").startswith(text)] == []


@EACH
def test_every_operation_lists_all_its_answers(operation: Operation) -> None:
    responses = told_of(operation)["responses"]
    problems = {str(row_of(kind).status.value) for kind in errors_of(operation)}
    assert responses.keys() == {str(status.value) for status in operation.answers} | problems
    assert {"400", "500"} <= responses.keys()
    assert ("401" in responses) or operation.access is Permission.PUBLIC
    assert ({"413", "415", "422"} <= responses.keys()) or operation.body is None
    for status, response in responses.items():
        assert "X-Request-Id" in response["headers"]
        assert set(response.get("content", ())) <= ({CONTENT_TYPE} if int(status) >= 400 else set(Media))


@EACH
def test_every_operation_names_its_security_schemes(operation: Operation) -> None:
    told = told_of(operation)
    assert ("security" in told) == (operation.access is not Permission.PUBLIC)
    names = {name for choice in told.get("security", ()) for name in choice}
    assert names <= DOCUMENT["components"]["securitySchemes"].keys()
    assert (operation.proof is not None) == (operation.access is Permission.OWN_PROOF)


@EACH
def test_an_idempotent_operation_takes_an_idempotency_key(operation: Operation) -> None:
    headers = {p["name"] for p in told_of(operation)["parameters"] if p["in"] == "header"}
    assert "X-Request-Id" in headers
    assert ("Idempotency-Key" in headers) == operation.is_idempotent


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_example_is_valid_for_its_model_and_the_document(model: type[BaseModel]) -> None:
    example = example_of(model)
    validated(model, example)
    if model.__name__ in DOCUMENT["components"]["schemas"]:
        OAS31Validator(schema_of(model.__name__)).validate(example)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("CreateSession", {"user_identity": "alice"}),
        ("CreateSession", {"user_identity": "sm-alice", "required_services": []}),
        ("CreateSession", {"user_identity": " alice", "required_services": []}),
        ("CreateSession", {"user_identity": "alice", "required_services": [{}]}),
        ("CreateSession", {"user_identity": "alice", "required_services": [{"service_id": "a", "type": "b"}]}),
        ("CreateSession", {"user_identity": "alice", "required_services": [{"service_id": "a", "labels": {"b": "c"}}]}),
        ("CreateSession", {"user_identity": "alice", "required_services": [], "metadata": {"\x00": 1}}),
        ("CreateSession", {"user_identity": "alice", "required_services": [], "user_attributes": {"lk.a": "b"}}),
        ("RegisterService", {"service_id": "a", "metadata": {"type": "b"}}),
        ("RegisterService", {"service_id": "a", "metadata": {"type": "b"}, "endpoint": "ftp://a/"}),
        ("RegisterService", {"service_id": "a", "metadata": {"type": "b"}, "agent_name": "session-manager-x"}),
        ("RegisterService", {"service_id": "a", "metadata": {"type": "b"}, "agent_name": "c", "labels": {" ": "d"}}),
    ],
)
def test_the_document_refuses_what_our_own_validators_refuse(model: str, body: dict[str, Any]) -> None:
    assert not OAS31Validator(schema_of(model)).is_valid(body)


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.slug)
def test_the_document_describes_every_problem_type(row: Any) -> None:
    problem = DOCUMENT["components"]["schemas"][name_of(row.slug)]
    assert problem["properties"]["type"]["const"] == TYPE + row.slug
    assert problem["properties"]["status"]["const"] == row.status.value


def test_creating_operations_link_to_the_operations_on_their_result() -> None:
    made = DOCUMENT["paths"]["/api/v1/sessions"]["post"]["responses"]
    for status in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
        links = made[str(status.value)]["links"]
        assert {"sessions_show", "sessions_close", "sessions_give_token", "events_follow"} <= links.keys()
        assert links["sessions_show"]["parameters"] == {"session_id": "$response.body#/session_id"}
    registered = DOCUMENT["paths"]["/api/v1/microservices/register"]["post"]["responses"]["201"]["links"]
    assert registered.keys() == {"microservices_show", "microservices_remove", "microservices_heartbeat"}
