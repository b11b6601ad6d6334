"""A curl command for each operation, generated from the examples of its models."""

from __future__ import annotations

import json
import re
import shlex
from urllib.parse import urlencode

from http_api.access.principals import Permission, Proof
from http_api.openapi.schemas import example_of
from http_api.operations import Media, Operation

SERVER = "http://localhost:8080"
"""The default address of the server."""
SESSION_ID, SERVICE_ID = "ses_01JFZ3N6X8Q4W2R5T7Y9ABCDEF", "asr-service"
IN_PATHS = {"session_id": SESSION_ID, "service_id": SERVICE_ID}
"""Example values of path parameters."""
PROOFS = {
    Proof.INVITE: "Authorization: Bearer $INVITE_TOKEN",
    Proof.SIGNATURE: "Authorization: $SIGNATURE",
}
WEBHOOK = {"event": "room_started", "id": "EV_7FqC3hXk", "createdAt": "1766400000", "room": {"name": "demo"}}


def curl(operation: Operation, server: str = SERVER) -> str:
    """A curl command for the operation. Credentials are shell variables, such as `$API_KEY`."""
    lines = [f"curl{_options(operation)} {shlex.quote(server + _target(operation))}"]
    if operation.access is not Permission.PUBLIC:
        proof = "Authorization: Bearer $API_KEY" if operation.proof is None else PROOFS[operation.proof]
        lines.append(f'-H "{proof}"')
    if operation.is_idempotent:
        lines.append('-H "Idempotency-Key: $(uuidgen)"')
    if operation.proof is Proof.SIGNATURE:
        lines += ["-H 'Content-Type: application/webhook+json'", f"-d {_json(WEBHOOK)}"]
    elif operation.body is not None:
        lines += ["-H 'Content-Type: application/json'", f"-d {_json(example_of(operation.body))}"]
    return " \\\n  ".join(lines)


def _options(operation: Operation) -> str:
    """Options that curl needs: the method, unless curl implies it (POST with data, else GET), and -N, without which
    curl buffers events."""
    if any(answer.media is Media.EVENTS for answer in operation.answers.values()):
        return " -N"
    has_body = operation.body is not None or operation.proof is Proof.SIGNATURE
    implied = "POST" if has_body else "GET"
    return "" if operation.method == implied else f" -X {operation.method}"


def _target(operation: Operation) -> str:
    path = re.sub(r"\{(\w+)\}", lambda part: IN_PATHS[part[1]], operation.path)
    query = {} if operation.query is None else example_of(operation.query)
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


def _json(value: object) -> str:
    return shlex.quote(json.dumps(value, ensure_ascii=False))
