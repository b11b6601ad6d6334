"""Loaded by Schemathesis: `positive_data_acceptance` without rules that JSON Schema can't express."""

from __future__ import annotations

import re
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.specs.openapi.checks import positive_data_acceptance

HOST = re.compile(r"(https?://)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*((?:[:/?].*)?)", re.DOTALL)
EXCUSED_PROBLEMS = frozenset({"service_not_available", "idempotency_key_reused"})
"""By the end of their types: no such service is registered; another case was sent with the same key."""
EXCUSED_FIELDS = {
    r"cursor": r"is not a cursor of this API",
    r"profile": r"is not a profile in the SERVICES_FILE",
    r"room_config\.agents\[\d+\]\.agent_name": r".* is not a service, type, profile or agent",
    r"endpoint|callback_url": r".* is not in an allowed network \((INVITE|CALLBACK)_NETWORKS\)|.* is never called, .*|"
    r"should have (a valid DNS host name|an IPv4 address of four decimal numbers|an IPv6 address .*)",
    r"required_services": r"names a service twice.*",
    r"room_config\.agents": r"names an agent twice|names a service twice.*",
    r"(user_|participant_)?identity|(user_|room_|participant_)?name": r"should have at most \d+ bytes in UTF-8, .*",
    r".*metadata|.*attributes|room_config\.agents": r"should have at most \d+ bytes .*",
    r"(?!(room|participant|agent|user|service)_|labels|endpoint|profile).*": r"may not have control characters .*",
}
"""By path: the errors of a field that the document's schema allows."""


@schemathesis.check
def valid_data_is_accepted(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    return None if _is_excused(response) else positive_data_acceptance(ctx, response, case)


def _is_excused(response: Response) -> bool:
    if response.status_code not in (422, 424):
        return False
    problem = response.json()
    return problem["type"].rpartition(":")[2] in EXCUSED_PROBLEMS or all(
        any(re.fullmatch(field, error["field"], re.DOTALL) and re.fullmatch(detail, error["detail"], re.DOTALL)
            for field, detail in EXCUSED_FIELDS.items())
        for error in problem.get("errors", [{"field": "", "detail": ""}])
    )  # fmt: skip


@schemathesis.hook
def map_body(_: Any, body: Any) -> Any:
    """Send callbacks to loopback, so that no generated host name is looked up."""
    url = body.get("callback_url") if isinstance(body, dict) else None
    if isinstance(url, str) and (made_up := HOST.fullmatch(url)):
        return {**body, "callback_url": f"{made_up[1]}127.0.0.1{made_up[2]}"}
    return body
