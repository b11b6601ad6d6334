"""Secrecy: what is wrong with a token, and what is a leak. conftest.py looks for both in every test."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from manager_agent.livekit.tokens import BACKDATED
from tests.leak_scanner import LIFE_MAX, LeakScanner, claims_of, wrong_in_user_token

pytestmark = pytest.mark.unit

GOOD = {
    "sub": "alice",
    "nbf": -BACKDATED,
    "exp": LIFE_MAX,
    "video": {"roomJoin": True, "room": "r", "canPublish": True},
}


def signed(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, "x" * 32, algorithm="HS256")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"sub": "sm-asr-1"}, ["a service's identity sm-asr-1"]),
        ({"kind": "agent"}, ["the kind agent"]),
        ({"exp": LIFE_MAX + 1}, ["a life of 901 s"]),
        ({"exp": 60}, ["a life of 60 s"]),
        ({"roomConfig": {}}, ["the claim roomConfig"]),
        ({"video": {"roomJoin": True, "room": "r", "roomAdmin": True}}, ["the grant roomAdmin"]),
        ({"video": {"roomJoin": True}}, ["no grant room"]),
    ],
)
def test_a_user_token_that_grants_too_much_or_for_too_long_is_found(changes: dict[str, Any], wrong: list[str]) -> None:
    assert wrong_in_user_token(claims_of(signed(GOOD | changes))) == wrong


@pytest.mark.parametrize(
    "text",
    [f"user {signed(GOOD)} came", '{"key": "sm_' + "a" * 43 + '"}', "it is a secret of ours."],
    ids=["token", "API key", "secret"],
)
def test_tokens_keys_and_secrets_are_found_in_any_text(text: str) -> None:
    scanner = LeakScanner(secrets={"a secret of ours"})
    scanner.text("log", "a test", text)
    assert len(scanner.take_found()) == 1
    assert scanner.take_found() == []


def test_tokens_are_found_in_answers_except_where_they_belong() -> None:
    scanner, token = LeakScanner(), signed(GOOD)
    scanner.answer("GET /x", "/api/v1/sessions/ses_1", "application/json", f'{{"access_token": "{token}"}}'.encode())
    assert (scanner.take_found(), scanner.looked_at["user token"]) == ([], 1)
    scanner.answer("GET /x", "/api/v1/sessions", "application/json", f'[{{"access_token": "{token}"}}]'.encode())
    assert len(scanner.take_found()) == 1
