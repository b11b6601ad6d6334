"""Join tokens: exactly the claims and grants of each kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jwt
import pytest

from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.livekit.listed_room import join_mark
from manager_agent.livekit.tokens import TOKEN_BYTES_MAX, AccessToken, Grant, InvalidToken, Tokens, TokenTooLong
from manager_agent.session.session import Limits, Session, User
from tests.unit import sessions as given

pytestmark = pytest.mark.unit

NOW = 1_766_400_000.7
SECRET = "the secret of a LiveKit server, long"
COMMON = {"attributes": {"session.id": "s1"}, "iss": "key", "nbf": 1_766_400_000 - 60}
USUAL = {"roomJoin": True, "room": "demo", "canPublish": True, "canSubscribe": True, "canPublishData": True}


def tokens(user_grants: Sequence[Grant] = tuple(Grant)) -> Tokens:
    return Tokens("key", SECRET, user_grants=user_grants, livekit_clock=lambda: NOW)


def claims_of(token: AccessToken) -> dict[str, Any]:
    """All claims but the token's own id."""
    claims: dict[str, Any] = jwt.decode(
        token.jwt, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False}
    )
    assert token.expires_at == claims["exp"]
    assert len(claims.pop("jti")) == 26
    return claims


def of_user(**user: Any) -> Session:
    return replace(given.a_session(), user=User("alice", **user), limits=Limits(user_join_timeout=120))


def granted(asked: dict[str, Any], *allowed: Grant) -> Any:
    session = of_user(grants=asked)
    video = claims_of(tokens(allowed or tuple(Grant)).for_human(session, session.user, 0.0))["video"]
    return {name: value for name, value in video.items() if USUAL.get(name) != value}


# --- humans -----------------------------------------------------------------------------------------


def test_a_human_token_allows_one_room_and_identity_for_a_limited_time() -> None:
    session = of_user()
    assert claims_of(tokens().for_human(session, session.user, 0.0)) == {
        **COMMON,
        "sub": "alice",
        "exp": 1_766_400_000 + 118 + 60,
        "video": USUAL,
    }


def test_a_human_token_has_the_requested_name_metadata_and_attributes() -> None:
    session = replace(of_user(name="Alice", attributes={"lang": "de"}), metadata=JsonObject.of({"plan": "gold"}))
    claims = claims_of(tokens().for_human(session, session.user, 0.0))
    assert (claims["name"], claims["attributes"]["lang"], claims["metadata"]) == ("Alice", "de", '{"plan":"gold"}')
    assert "kind" not in claims


@pytest.mark.parametrize("metadata", ["", "as it is", "{}"])
def test_metadata_of_the_user_wins_over_that_of_the_session_in_a_token(metadata: str) -> None:
    session = replace(of_user(metadata=metadata), metadata=JsonObject.of({"plan": "gold"}))
    assert claims_of(tokens().for_human(session, session.user, 0.0)).get("metadata", "") == metadata


def test_a_token_of_a_further_human_has_nothing_of_the_first_one() -> None:
    first = of_user(name="Alice", attributes={"a": "b"}, grants={"can_publish": False})
    session = replace(first, metadata=JsonObject.of({"c": "d"}))
    assert claims_of(tokens().for_human(session, User("bob", metadata=""), 0.0)) == {
        **COMMON,
        "sub": "bob",
        "exp": 1_766_400_000 + 178,
        "video": USUAL,
    }


@pytest.mark.parametrize(("timeout", "life"), [(0.2, 61), (2, 61), (20.5, 78), (120, 178)])
def test_human_tokens_last_as_long_as_the_room_and_the_minute_that_clients_subtract(timeout: float, life: int) -> None:
    session = replace(of_user(), limits=Limits(user_join_timeout=timeout))
    claims = claims_of(tokens().for_human(session, session.user, 0.0))
    assert claims["exp"] - claims["nbf"] == 60 + life


@pytest.mark.parametrize(
    ("asked", "differs"),
    [
        ({"can_publish": False}, {"canPublish": False}),
        ({"can_subscribe": False, "can_publish_data": False}, {"canSubscribe": False, "canPublishData": False}),
        ({"can_publish_sources": ["microphone"]}, {"canPublishSources": ["microphone"]}),
        ({"can_update_own_metadata": True}, {"canUpdateOwnMetadata": True}),
        ({"can_update_own_metadata": False}, {}),
    ],
)
def test_a_human_token_has_the_requested_grants(asked: dict[str, Any], differs: dict[str, Any]) -> None:
    assert granted(asked) == differs


def test_a_human_token_never_has_grants_that_the_server_does_not_allow() -> None:
    nothing = {"canPublish": False, "canSubscribe": False, "canPublishData": False}
    everything = {"can_publish": True, "can_publish_data": True, "can_update_own_metadata": True, "room_admin": True}
    assert granted({}, Grant.CAN_UPDATE_OWN_METADATA) == nothing
    assert granted(everything, Grant.CAN_SUBSCRIBE) == {"canPublish": False, "canPublishData": False}


def test_two_join_tokens_for_the_same_human_differ() -> None:
    session, maker = of_user(), tokens()
    assert len({maker.for_human(session, session.user, 0.0).jwt for _ in range(100)}) == 100


# --- services ---------------------------------------------------------------------------------------


def invited() -> Session:
    return given.after(given.a_session(given.JOINS), *given.created(), *given.invited(given.ASR))


def test_a_service_token_allows_one_room_as_agent_until_its_deadline() -> None:
    session = replace(invited(), limits=Limits(ready_timeout=30))
    assert claims_of(tokens().for_service(session, session.services[0], given.START + 10)) == {
        **COMMON,
        "sub": "sm-asr-1",
        "name": "asr-service",
        "kind": "agent",
        "exp": 1_766_400_000 + 20 + 60,
        "video": {**USUAL, "canUpdateOwnMetadata": True},
    }


def test_a_manager_token_allows_one_room_as_hidden_agent() -> None:
    """As LiveKit gives it out with a job."""
    assert claims_of(tokens().for_manager(of_user(), "sm-manager-1", "session-manager/1")) == {
        "attributes": {"lk.agent_name": "session-manager/1", "lk.agent.name": "session-manager/1"},
        "iss": "key",
        "nbf": 1_766_400_000 - 60,
        "sub": "sm-manager-1",
        "name": "session manager",
        "kind": "agent",
        "exp": 1_766_400_000 + 600,
        "video": {
            "roomJoin": True,
            "room": "demo",
            "agent": True,
            "hidden": True,
            "canPublish": False,
            "canSubscribe": True,
            "canPublishData": True,
            "canUpdateOwnMetadata": False,
        },
        "roomConfig": {"maxParticipants": join_mark("s1")},
    }


def test_livekits_token_of_a_job_is_kept_except_that_it_marks_a_room() -> None:
    """Its times are by LiveKit's clock, and LiveKit may have signed it with another of its keys."""
    given_by_livekit = {"iss": "key 2", "sub": "sm-manager-1", "nbf": 5, "exp": 605, "video": {"room": "demo"}}
    marked = tokens().marked(jwt.encode(given_by_livekit, "another secret of the LiveKit server"), "s1")
    assert jwt.decode(marked, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False}) == {
        **given_by_livekit,
        "iss": "key",
        "roomConfig": {"maxParticipants": join_mark("s1")},
    }


def test_a_replacement_service_token_lives_for_the_time_to_replace_it() -> None:
    session = replace(invited(), ready_at=given.START + 5, limits=Limits(ready_timeout=30, replacement_timeout=15))
    claims = claims_of(tokens().for_service(session, session.services[0], given.START + 3_000))
    assert claims["exp"] - claims["nbf"] == 60 + 15 + 60


def test_each_attempt_has_its_own_identity_and_join_token() -> None:
    session = invited()
    first = tokens().for_service(session, session.services[0], given.START)
    again = session.services[0].next_attempt("sm-asr-2", "inv_2", given.START, None)
    second = tokens().for_service(session, again, given.START)
    assert [claims_of(token)["sub"] for token in (first, second)] == ["sm-asr-1", "sm-asr-2"]
    assert first.jwt != tokens().for_service(session, session.services[0], given.START).jwt


# --- read again -------------------------------------------------------------------------------------


def test_a_join_token_is_read_as_identity_and_room() -> None:
    maker, session = Tokens("key", SECRET), invited()
    joiner = maker.joiner(maker.for_service(session, session.services[0], given.START).jwt)
    assert (joiner.identity, joiner.room_name) == ("sm-asr-1", "demo")


@pytest.mark.parametrize(
    ("key", "secret", "claims"),
    [
        ("key", SECRET + "?", {}),
        ("other", SECRET, {}),
        ("key", SECRET, {"exp": 1_000}),
        ("key", SECRET, {"sub": ""}),
        ("key", SECRET, {"video": {"roomJoin": False, "room": "demo"}}),
        ("key", SECRET, {"video": {"roomJoin": True}}),
        ("key", SECRET, {"video": None}),
    ],
)
def test_a_token_that_is_not_our_join_token_is_refused(key: str, secret: str, claims: dict[str, Any]) -> None:
    good = {"iss": "key", "sub": "alice", "exp": 2**33, "video": {"roomJoin": True, "room": "demo"}}
    assert Tokens("key", SECRET).joiner(jwt.encode(good, SECRET)).identity == "alice"
    with pytest.raises(InvalidToken):
        Tokens("key", SECRET).joiner(jwt.encode(good | {"iss": key} | claims, secret))


@pytest.mark.parametrize("text", ["", "abc", "a.b.c"])
def test_a_text_that_is_not_a_jwt_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        Tokens("key", SECRET).joiner(text)


def test_the_repr_of_a_join_token_does_not_show_it() -> None:
    session = of_user()
    token = tokens().for_human(session, session.user, 0.0)
    assert token.jwt not in repr(token)


def test_text_of_any_script_takes_no_more_room_in_a_token_than_its_bytes() -> None:
    """Escaped to ASCII, each of these characters would take six bytes, in the metadata once more."""
    metadata = {"briefing": "会议" * 2_700}
    session = replace(of_user(name="山田"), metadata=JsonObject.of(metadata))
    token = tokens().for_human(session, session.user, 0.0).jwt
    assert json.loads(claims_of(tokens().for_human(session, session.user, 0.0))["metadata"]) == metadata
    assert len(token) < 16 * 1024 * 4 / 3 + 1_000


def test_a_token_that_is_too_long_for_a_url_is_not_made() -> None:
    session = replace(of_user(attributes={"a": "b" * 8_000}), metadata=JsonObject.of({"quotes": '"' * 8_000}))
    with pytest.raises(TokenTooLong, match=str(TOKEN_BYTES_MAX)):
        tokens().for_human(session, session.user, 0.0)
