"""A call of each operation to copy and paste, made from the examples that stand with its models."""

from __future__ import annotations

import json
import re
import shlex
from urllib.parse import urlencode

from http_api.access.principals import Permission, Proof
from http_api.openapi.schemas import example_of
from http_api.operations import Media, Operation

SERVER = "http://localhost:8080"
"""Where the server listens unless it is told otherwise."""
SESSION_ID, SERVICE_ID = "ses_01JFZ3N6X8Q4W2R5T7Y9ABCDEF", "asr-service"
IN_PATHS = {"session_id": SESSION_ID, "service_id": SERVICE_ID}
"""What stands for each part of a path that the caller chooses."""
PROOFS = {
    Proof.INVITE: "Authorization: Bearer $INVITE_TOKEN",
    Proof.SIGNATURE: "Authorization: $SIGNATURE",
}
WEBHOOK = {"event": "room_started", "id": "EV_7FqC3hXk", "createdAt": "1766400000", "room": {"name": "demo"}}


def curl(operation: Operation, server: str = SERVER) -> str:
    """For a shell in which the variables hold the caller's proof."""
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
    """curl chooses GET, and POST when there is something to send. It shows events late without -N."""
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
