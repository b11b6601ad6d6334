"""Messages that no manager sends: forged signatures and malformed bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from livekit import api

from manager_agent.messages import Invite
from service_kit.conformance.harness import Harness

FORGERIES: Mapping[str, Callable[[Harness, bytes], str]] = {
    "no signature": lambda harness, body: "",
    "not a JWT": lambda harness, body: "rubbish",
    "signed with another secret": lambda harness, body: harness.signature(
        body, secret="another-secret-of-32-bytes-or-more"
    ),
    "the signature of another body": lambda harness, body: harness.signature(body + b" "),
    "an expired signature": lambda harness, body: harness.signature(body, lifetime=-3600),
    "a token without the hash of the body": lambda harness, body: api.AccessToken(
        harness.options.key, harness.options.secret
    ).to_jwt(),
}
"""For each defect, a function that gives the Authorization header of a body."""


def invalid_messages_for(invite: Invite) -> dict[str, bytes]:
    """Malformed bodies by name. Some are variations of this invite."""
    good = json.loads(invite.model_dump_json())
    return {
        "an empty body": b"",
        "invalid JSON": b"{",
        "invalid UTF-8": b"\xff\xfe{}",
        "a list": b"[]",
        "null": b"null",
        "an empty object": b"{}",
        "an event of another kind": b'{"event": "room_started", "id": "EV_1"}',
        "an invite without a session": json.dumps({k: v for k, v in good.items() if k != "session"}).encode(),
        "an invite of the wrong types": json.dumps(dict.fromkeys(good, 7) | {"event": good["event"]}).encode(),
        "deeply nested JSON": b"[" * 20_000 + b"]" * 20_000,
    }
