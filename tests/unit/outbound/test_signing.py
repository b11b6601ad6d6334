"""Signatures: what LiveKit's own receiver accepts and refuses, and what the services' side does."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest
from livekit import api

from manager_agent.outbound.signing import NotSigned, signature, signed_headers, verify

pytestmark = pytest.mark.unit

KEY, SECRET = "invite-key", "invite-secret-of-thirty-two-bytes-or-more"
BODY = '{"event": "room_started", "room": {"name": "größer"}}'.encode()


def digest(body: bytes = BODY) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def signed(claims: Mapping[str, Any], secret: str = SECRET, headers: Mapping[str, Any] | None = None) -> str:
    return jwt.encode(dict(claims), secret, "HS256", dict(headers or {}))


def claims(**more: Any) -> dict[str, Any]:
    return {"iss": KEY, "exp": int(time.time()) + 300, "sha256": digest()} | more


def test_livekits_receiver_accepts_a_signature() -> None:
    headers = signed_headers(BODY, KEY, SECRET)
    receiver = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))
    assert receiver.receive(BODY.decode(), headers["Authorization"]).event == "room_started"
    assert headers["Content-Type"] == "application/webhook+json"


@pytest.mark.parametrize("text", ["{}", '{"event": "room_finished"}'])
def test_livekits_receiver_refuses_the_signature_of_another_body(text: str) -> None:
    receiver = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))
    with pytest.raises(Exception, match="hash mismatch"):
        receiver.receive(text, signature(BODY, KEY, SECRET))


def test_a_signature_holds_for_five_minutes_and_says_nothing_else() -> None:
    said = jwt.decode(signature(BODY, KEY, SECRET), SECRET, ["HS256"])
    assert said.keys() == {"iss", "nbf", "exp", "sha256"}
    assert (said["iss"], said["sha256"], said["exp"] - said["nbf"]) == (KEY, digest(), 300 + 60)


@pytest.mark.parametrize(
    "make",
    [
        lambda: signature(BODY, KEY, SECRET),
        lambda: api.AccessToken(KEY, SECRET).with_sha256(digest()).with_ttl(timedelta(minutes=5)).to_jwt(),
        lambda: signed(claims()),
        lambda: signed(claims(nbf=int(time.time()) + 30, sub="", video={"roomAdmin": True}, name="")),
        lambda: signed(claims(exp=int(time.time()) - 30)),
        lambda: signed(claims(sha256=digest() + "\n"), headers={"kid": "1"}),
    ],
    ids=["ours", "Python SDK", "least claims", "more claims", "clock behind", "line feed"],
)
def test_signatures_of_livekits_servers_and_sdks_are_accepted(make: Callable[[], str]) -> None:
    verify(BODY, make(), KEY, SECRET)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "rubbish",
        lambda: "\udcff.a.b",
        lambda: base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".e30.e30",
        lambda: f"Bearer {signature(BODY, KEY, SECRET)}",
        lambda: signature(BODY, KEY, SECRET[::-1]),
        lambda: signature(BODY, "other", SECRET),
        lambda: signature(BODY + b" ", KEY, SECRET),
        lambda: signature(BODY, KEY, SECRET, lifetime=-61),
        lambda: jwt.encode(claims(), "", algorithm="none"),
        lambda: jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
        lambda: signed({name: value for name, value in claims().items() if name != "exp"}),
        lambda: signed(claims(exp=float("inf"))),
        *((lambda value=value: signed(claims(sha256=value))) for value in ("", None, 7, "ä", digest()[:-4])),
        lambda: signed(claims(sha256=hashlib.sha256(BODY).hexdigest())),
        lambda: api.AccessToken(KEY, SECRET).with_identity("eve").to_jwt(),
    ],
)
def test_a_body_not_signed_with_these_keys_is_refused(make: Callable[[], str]) -> None:
    with pytest.raises(NotSigned) as refused:
        verify(BODY, make(), KEY, SECRET)
    assert SECRET not in str(refused.value)
