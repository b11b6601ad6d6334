"""The metadata with which a LiveKit agent is dispatched: the invite, and what the client sent for this agent.

A stock agent parses its dispatch metadata as it was given by the client (`room_config.agents[].metadata`), so the
members of that JSON object are members here, too. Where names clash the invite's count; the client's are always in
`session.metadata`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from manager_agent.messages import Invite

PLAIN_TEXT = "metadata"
"""The member for an agent's own metadata that is not a JSON object."""


def dispatch_metadata(invite: Invite, asked_as: str, *other_names: str | None) -> str:
    """The metadata as JSON. `asked_as`: the name by which a TokenSource request asked for this agent; if it is empty,
    one of the `other_names` may be that name."""
    ours = invite.model_dump(mode="json", exclude={"identity", "token"})
    names = (asked_as,) if asked_as else other_names
    theirs = _for_agent(invite.session.metadata, names, otherwise={} if asked_as else invite.session.metadata)
    return json.dumps({**theirs, **ours}, ensure_ascii=False)


def _for_agent(
    metadata: Mapping[str, Any], names: tuple[str | None, ...], *, otherwise: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What a TokenSource request has for this very agent."""
    agents = metadata.get("agents")
    texts = [agents[name] for name in names if name in agents] if isinstance(agents, dict) else []
    if not texts or not isinstance(texts[0], str):
        return otherwise
    try:
        given = json.loads(texts[0])
        json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):  # no JSON, or with what JSON does not have: NaN, half a surrogate pair
        given = None
    return given if isinstance(given, dict) else {PLAIN_TEXT: texts[0]}
