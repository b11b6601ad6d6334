"""The OpenAPI 3.1 document, generated from the table of operations and their models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter

from http_api import VERSION
from http_api.access.principals import Permission, Proof
from http_api.models import field_types
from http_api.models.paging import SESSION_ID
from http_api.openapi.answers import answers, header_components
from http_api.openapi.curls import IN_PATHS, curl
from http_api.openapi.schemas import Schema, Schemas, example_of, schemas_of, sentence
from http_api.operations import Operation, Tag

ABOUT = """
Create LiveKit sessions: a room together with the services that it needs. The user gets a token only when all required
services have joined the room and signaled that they are ready.

**Sessions** start as `waiting` and become `ready` (a token is available), `active` (the user is in the room) and
possibly `degraded` (a service was lost and is being replaced). The final state is `ended` or `failed`, with a `reason`.

**Waiting.** `POST /api/v1/sessions` responds once the session is ready. With `Prefer: wait=N` it responds within N
seconds, with `Prefer: respond-async` at once: with 202 if the session is not ready by then.

**Errors** from every path are `application/problem+json` (RFC 9457). `type` identifies the problem; `request_id` finds
it in the log; `errors` lists the invalid fields; `services` says why each service is not ready.

**Retries.** Where the `Idempotency-Key` header is listed, a request repeated with the same key is not executed twice;
its response is kept for 24 hours. `Retry-After` says when a retry may succeed.

**Authentication.** `Authorization: Bearer` with an API key or a JWT signed with LiveKit's key. In dev mode no
credentials are needed.

Times are RFC 3339 in UTC. Fields may be added to responses; unknown fields in requests are rejected.
""".strip()

TAGS = {
    Tag.SESSIONS: "Create, get, follow and end sessions.",
    Tag.TOKENS: "Tokens for participants to join the room of a session.",
    Tag.SERVICES: "The services that sessions can require: register them, renew leases, signal that one is ready.",
    Tag.OPERATIONS: "For operators of this server, and for LiveKit.",
}
PROOFS: dict[str, Schema] = {
    "api_key": {"type": "http", "scheme": "bearer", "description": "An API key (API_KEYS)."},
    "livekit_jwt": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "A JWT signed with LiveKit's key and secret, as for LiveKit's own server API.",
    },
    "issuer_jwt": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "A JWT for a user, from the caller's own issuer (JWKS_URL).",
    },
    Proof.INVITE: {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The join token of the service's invite.",
    },
    Proof.SIGNATURE: {
        "type": "apiKey", "in": "header", "name": "Authorization",
        "description": "LiveKit's signature: a JWT that contains the SHA-256 of the body.",
    },
}  # fmt: skip
PARTS_OF_PATHS: dict[str, Schema] = {
    "session_id": {"type": "string", "pattern": f"^{SESSION_ID.pattern}$"},
    "service_id": TypeAdapter(field_types.ServiceId).json_schema(),
}
REQUEST_ID = "identifies the request in the server's log and in problems: up to 64 letters, digits, `.`, `_`, `-`"
HEADER_PATTERNS: dict[str, str] = {
    "Idempotency-Key": r'^([\x21\x23-\x7e][\x21-\x7e]{0,254}|"([\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255}")$',
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document for these operations. Deterministic."""
    operations = tuple(operation for operation in operations if operation.is_documented)
    schemas = schemas_of(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, operations, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LiveKit session manager",
            "version": VERSION,
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag.value, "description": description} for tag, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "headers": header_components(),
            "securitySchemes": PROOFS,
        },
    }


def _operation(operation: Operation, operations: Sequence[Operation], schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag.value],
        "summary": operation.summary,
        "description": _description(operation),
        "parameters": list(_parameters(operation, schemas)),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas.bodies[operation.body]}}
        described["requestBody"] = {"content": content, "required": operation.needs_body}
    described["responses"] = answers(operation, schemas, _links(operation, operations))
    if operation.access is not Permission.PUBLIC:
        described["security"] = _security(operation)
    return described


def _description(operation: Operation) -> str:
    return f"{operation.description}\n\n```sh\n{curl(operation)}\n```".strip()


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.proof is not None:
        return [{operation.proof: []}]
    names = ["api_key", "livekit_jwt"] + (["issuer_jwt"] if operation.access is Permission.FRONT_END else [])
    return [{name: [] if operation.access.scope is None else [operation.access.scope]} for name in names]


def _parameters(operation: Operation, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for name in parts_of(operation.path):
        schema, example = PARTS_OF_PATHS.get(name, {"type": "string"}), IN_PATHS.get(name)
        yield {"name": name, "in": "path", "required": True, "schema": schema} | (
            {} if example is None else {"example": example}
        )
    if operation.query is not None:
        assert isinstance(operation.query, type)
        yield from _query(operation.query, schemas.queries[operation.query])
    for name, description in {**operation.headers, "X-Request-Id": REQUEST_ID}.items():
        pattern = {"pattern": HEADER_PATTERNS[name]} if name in HEADER_PATTERNS else {}
        yield {
            "name": name,
            "in": "header",
            "description": sentence(description),
            "schema": {"type": "string", **pattern},
        }


def _query(model: type[BaseModel], schema: Schema) -> Iterator[dict[str, Any]]:
    example = example_of(model)
    for name, field in schema["properties"].items():
        in_schema = {key: value for key, value in _given(field).items() if key != "description"}
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": in_schema}
        if "description" in field:
            parameter["description"] = field["description"]
        if name in example:
            parameter["example"] = example[name]
        yield parameter


def _given(field: Schema) -> Schema:
    """The schema of a query parameter without its null branch: a query can't express null."""
    some = [branch for branch in field.get("anyOf", ()) if branch != {"type": "null"}]
    if len(some) != 1:
        return field
    return {**some[0], **{key: value for key, value in field.items() if key not in ("anyOf", "default")}}


def _links(operation: Operation, operations: Sequence[Operation]) -> dict[str, Any]:
    """Links from the resource that an operation creates to the operations on it."""
    if operation.method != "POST" or HTTPStatus.CREATED not in operation.answers:
        return {}
    view = operation.answers[HTTPStatus.CREATED].view
    fields = view.model_fields if isinstance(view, type) else {}
    return {
        other.id: {
            "operationId": other.id,
            "parameters": {name: f"$response.body#/{name}" for name in parts_of(other.path)},
        }
        for other in operations
        if (parts := parts_of(other.path)) and set(parts) <= fields.keys() and other.path != operation.path
    }


def parts_of(path: str) -> list[str]:
    """The names of the parameters in a path."""
    return re.findall(r"\{(\w+)\}", path)
