"""What no manager sends: forged signatures, and bodies that are no messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from livekit import api

from manager_agent.messages import Invite
from service_kit.conformance.harness import Harness

FORGERIES: Mapping[str, Callable[[Harness, bytes], str]] = {
    "no signature": lambda harness, body: "",
    "no JWT": lambda harness, body: "rubbish",
    "signed with another secret": lambda harness, body: harness.signature(
        body, secret="another-secret-of-32-bytes-or-more"
    ),
    "the signature of another body": lambda harness, body: harness.signature(body + b" "),
    "an expired signature": lambda harness, body: harness.signature(body, lifetime=-3600),
    "a token without the hash of the body": lambda harness, body: api.AccessToken(
        harness.options.key, harness.options.secret
    ).to_jwt(),
}
"""What the Authorization of a body is in each case, by what is wrong with it."""


def invalid_messages_for(invite: Invite) -> dict[str, bytes]:
    """Bodies by what they are; some begin as this invite does."""
    good = json.loads(invite.model_dump_json())
    return {
        "an empty body": b"",
        "no JSON": b"{",
        "no UTF-8": b"\xff\xfe{}",
        "a list": b"[]",
        "null": b"null",
        "an empty object": b"{}",
        "an event of another kind": b'{"event": "room_started", "id": "EV_1"}',
        "an invite without a session": json.dumps({k: v for k, v in good.items() if k != "session"}).encode(),
        "an invite of the wrong types": json.dumps(dict.fromkeys(good, 7) | {"event": good["event"]}).encode(),
        "deeply nested JSON": b"[" * 20_000 + b"]" * 20_000,
    }
