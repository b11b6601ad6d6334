"""The last tests of a run: every token seen grants what it must and nothing else, and no secret was leaked."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import jwt
import pytest

from tests.leak_scanner import LEAK_SCANNER

HUMAN = {
    "roomJoin",
    "room",
    "canPublish",
    "canSubscribe",
    "canPublishData",
    "canPublishSources",
    "canUpdateOwnMetadata",
}
SERVICE = {"roomJoin", "room", "canPublish", "canSubscribe", "canPublishData", "canUpdateOwnMetadata"}
LIFE_MAX = 15 * 60
"""Seconds: the longest ready timeout that may be asked for, and a little more."""
OURS = "sm-"


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def granted(claims: dict[str, Any]) -> set[str]:
    """The grants of the token that are true."""
    return {name for name, value in claims["video"].items() if value}


@pytest.mark.api
def test_user_tokens_admit_one_participant_to_one_room_for_a_while() -> None:
    if not LEAK_SCANNER.user_tokens:
        pytest.skip("no token was seen: run it together with the API's tests")
    for token, request in LEAK_SCANNER.user_tokens.items():
        claims = claims_of(token)
        assert {"roomJoin", "room"} <= granted(claims) <= HUMAN, request
        assert not claims["sub"].startswith(OURS), request
        assert claims.get("kind", "standard") == "standard", request
        assert 60 < claims["exp"] - claims["nbf"] <= LIFE_MAX, request
        assert set(claims) <= {
            "iss",
            "sub",
            "nbf",
            "iat",
            "exp",
            "jti",
            "name",
            "metadata",
            "attributes",
            "video",
            "kind",
        }


@pytest.mark.live
def test_service_tokens_are_for_one_attempt_in_one_room() -> None:
    if not LEAK_SCANNER.invites:
        pytest.skip("no invite was seen: run it together with the live tests")
    attempts = defaultdict(set)
    for token, invite in LEAK_SCANNER.invites.items():
        claims = claims_of(token)
        assert {"roomJoin", "room"} <= granted(claims) <= SERVICE, invite.service_id
        assert claims["video"]["room"] == invite.session.room_name
        assert (claims["sub"], claims["kind"]) == (invite.identity, "agent")
        assert claims["sub"].startswith(OURS)
        assert claims["exp"] - claims["nbf"] <= LIFE_MAX
        attempts[claims["sub"]].add((invite.session.session_id, invite.service_id, invite.attempt))
    assert [identity for identity, of in attempts.items() if len(of) > 1] == []


@pytest.mark.api
def test_no_token_or_secret_was_leaked() -> None:
    if "application/json" not in LEAK_SCANNER.looked_at:
        pytest.skip("nothing was seen: run it together with the API's tests")
    print(dict(LEAK_SCANNER.looked_at))
    assert LEAK_SCANNER.leaks == []
    assert {"application/problem+json", "log"} <= set(LEAK_SCANNER.looked_at)


@pytest.mark.api
def test_leak_scanner_finds_tokens_keys_and_secrets() -> None:
    """The scanner itself: a token, a key and a secret in what others may read."""
    scanner = type(LEAK_SCANNER)(secrets={"a secret of ours"})
    token = jwt.encode({"sub": "alice"}, "x" * 32, algorithm="HS256")
    for text in (f"user {token} came", '{"key": "sm_' + "a" * 43 + '"}', "it is a secret of ours."):
        before = len(scanner.leaks)
        scanner.text("log", "a test", text)
        assert len(scanner.leaks) == before + 1
    scanner.answer("GET /x", "/api/v1/sessions/ses_1", "application/json", f'{{"access_token": "{token}"}}'.encode())
    assert (len(scanner.leaks), list(scanner.user_tokens)) == (3, [token])
    scanner.answer("GET /x", "/api/v1/sessions", "application/json", f'[{{"access_token": "{token}"}}]'.encode())
    assert len(scanner.leaks) == 4
