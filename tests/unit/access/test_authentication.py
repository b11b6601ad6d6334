"""Authentication: what a credential allows, and which key signs what is sent to a caller."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from http_api.access.authentication import EXP_MAX, LEEWAY, Authenticator, bearer, scopes_of
from http_api.access.principals import DEVELOPER, Principal, Scope
from http_api.app_state import authenticator_of
from http_api.errors import Forbidden, NotBelieved, Unauthorized
from http_api.settings.settings import DevSettings, Settings
from manager_agent.clock import SteadyClock
from tests.issuer import AUDIENCE, ISSUER, KEYS, Issuer
from tests.tenants import ACME, LIVEKIT_KEY, LIVEKIT_SECRET, OPERATOR, livekit_token, production

pytestmark = pytest.mark.unit


def authenticator(kind: type[Settings] = Settings, **more: Any) -> Authenticator:
    return authenticator_of(kind(_env_file=None, **production(**more)), SteadyClock(), time.time)


async def principal(proof: str) -> Principal:
    return await authenticator().identify(make_mocked_request("GET", "/", {"Authorization": f"Bearer {proof}"}))


@pytest.mark.parametrize(
    ("grants", "scopes"),
    [
        ({"roomCreate": True}, {Scope.SESSIONS, Scope.SERVICES}),
        ({"roomCreate": True, "roomList": True}, {Scope.SESSIONS, Scope.SERVICES}),
        ({"roomCreate": True, "roomAdmin": True}, set(Scope)),
        ({"roomCreate": True, "roomAdmin": True, "room": ""}, set(Scope)),
        ({"roomCreate": True, "roomAdmin": True, "room": "one"}, {Scope.SESSIONS, Scope.SERVICES}),
        ({"roomAdmin": True}, set()),
        ({"roomAdmin": True, "room": "one"}, set()),
        ({"roomJoin": True, "room": "one"}, set()),
        ({"roomCreate": "true"}, set()),
        ({"roomCreate": 1}, set()),
        ({}, set()),
        (None, set()),
        ([], set()),
        ("roomCreate", set()),
    ],
)
def test_grants_of_a_livekit_token_become_permissions(grants: Any, scopes: set[Scope]) -> None:
    assert scopes_of(grants) == scopes


async def test_each_api_key_is_its_own_caller_and_all_livekit_tokens_are_one_caller() -> None:
    assert await principal(ACME.key) == Principal("acme", ACME.scopes)
    assert await principal(OPERATOR.key) == Principal("operator", frozenset(Scope))
    first, second = livekit_token("a", room_create=True), livekit_token("b", room_create=True, room_admin=True)
    assert await principal(first) == Principal("livekit", frozenset({Scope.SESSIONS, Scope.SERVICES}))
    assert await principal(second) == Principal("livekit", frozenset(Scope))


async def test_a_token_is_accepted_despite_a_small_clock_skew() -> None:
    def token(seconds: float) -> str:
        claims = {"iss": LIVEKIT_KEY, "exp": time.time() + seconds, "video": {"roomCreate": True}}
        return jwt.encode(claims, LIVEKIT_SECRET)

    assert (await principal(token(-LEEWAY / 2))).name == "livekit"
    with pytest.raises(NotBelieved, match="expired"):
        await principal(token(-LEEWAY - 2))


async def test_an_expiring_credential_says_until_when_it_is_accepted() -> None:
    """An API key does not expire. A JWT does, once the allowed clock skew is over, however far off that is."""
    assert (await principal(ACME.key)).expires_at is None
    for ends, known in ((int(time.time()) + 60, int(time.time()) + 60), (10**400, EXP_MAX)):
        claims = {"iss": LIVEKIT_KEY, "exp": ends, "video": {"roomCreate": True}}
        assert (await principal(jwt.encode(claims, LIVEKIT_SECRET))).expires_at == pytest.approx(known + LEEWAY, abs=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
async def test_in_dev_mode_every_local_caller_is_the_developer(host: str) -> None:
    """Whatever credential is sent."""
    request = make_mocked_request("GET", "/", {"Authorization": "Bearer wrong"})
    assert await authenticator(DevSettings, server_host=host).identify(request) is DEVELOPER


@pytest.mark.parametrize(
    ("kind", "host"),
    [(DevSettings, "0.0.0.0"), (DevSettings, "::"), (DevSettings, "10.0.0.1"), (DevSettings, "localhost.example.com"),
     (Settings, "127.0.0.1")],
)  # fmt: skip
async def test_outside_dev_mode_on_loopback_a_credential_is_required(kind: type[Settings], host: str) -> None:
    with pytest.raises(Unauthorized):
        await authenticator(kind, server_host=host).identify(make_mocked_request("GET", "/"))


ORIGIN = "https://app.example.com"
CLERK = {"jwks_issuer": ISSUER, "jwks_authorized_parties": f"{ORIGIN}, https://other.example.com"}


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as issuer:
        yield issuer


async def user(issuer: Issuer, proof: str, **jwks: Any) -> Principal:
    """Whom an authenticator with these settings finds in a JWT of the issuer."""
    checking = authenticator(jwks_url=issuer.url, **jwks)
    await checking.start()
    try:
        return await checking.identify(sent(f"Bearer {proof}"))
    finally:
        await checking.aclose()


@pytest.mark.parametrize(
    ("jwks", "claims"),
    [
        (CLERK, {"aud": None, "azp": ORIGIN}),
        ({"jwks_issuer": ISSUER}, {"aud": None}),  # WorkOS
        (
            {"jwks_audience": AUDIENCE},
            {"aud": [AUDIENCE, "https://userinfo.example.com"], "azp": "client", "iss": None},
        ),
    ],
)
@pytest.mark.parametrize("kid", KEYS)
async def test_a_jwt_of_an_issuer_is_accepted_by_the_claims_that_are_configured(
    issuer: Issuer, kid: str, jwks: dict[str, str], claims: dict[str, Any]
) -> None:
    assert (await user(issuer, issuer.sign(kid, **claims), **jwks)).identity == "alice"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"azp": None}, "no `azp`"),
        ({"azp": "https://evil.example.com"}, "`azp`"),
        ({"azp": [ORIGIN]}, "`azp`"),
        ({"azp": {"a": 1}}, "`azp`"),
        ({"iss": None}, "no `iss`"),
        ({"iss": "https://elsewhere.example.com"}, "`iss`"),
        ({"aud": "another API"}, "`aud`"),
        ({"sub": None}, "no `sub`"),
        ({"sub": 7}, "`sub`"),
        ({"exp": None}, "no `exp`"),
        ({"exp": 1}, "expired: its `exp`"),
        ({"exp": "soon"}, "`exp` is not a number"),
        ({"nbf": []}, "`nbf` is not a number"),
        ({"iat": {}}, "`iat` is not a number"),
        ({"nbf": 2**33}, "`nbf` is in the future"),
        ({"iat": 2**33}, "`iat` is in the future"),
    ],
)
async def test_a_refused_jwt_of_an_issuer_names_the_claim(issuer: Issuer, claims: dict[str, Any], said: str) -> None:
    with pytest.raises(NotBelieved, match=said):
        await user(issuer, issuer.sign(**{"aud": None, "azp": ORIGIN} | claims), **CLERK)


@pytest.mark.parametrize(
    ("header", "said"), [({}, "no `kid`"), ({"kid": "unknown"}, "no key .* `kid`"), ({"kid": ""}, "no key .* `kid`")]
)
async def test_a_jwt_of_an_issuer_without_a_known_key_names_its_kid(
    issuer: Issuer, header: dict[str, str], said: str
) -> None:
    claims = {"sub": "alice", "iss": ISSUER, "exp": time.time() + 60}
    with pytest.raises(NotBelieved, match=said):
        await user(issuer, jwt.encode(claims, KEYS["ec-1"], "ES256", header), jwks_issuer=ISSUER)


@pytest.mark.parametrize(
    ("subject", "said"),
    [("a\nb", r"U\+000A at position 2"), ("sm-asr", "sm-"), ("é" * 129, "256 bytes"), ("", "at least 1")],
)
async def test_a_subject_that_is_no_identity_names_the_character(issuer: Issuer, subject: str, said: str) -> None:
    with pytest.raises(Forbidden, match=said):
        await user(issuer, issuer.sign(sub=subject, aud=None), jwks_issuer=ISSUER)


@pytest.mark.parametrize("jwks", [{"jwks_audience": AUDIENCE}, {"jwks_audience": AUDIENCE, "jwks_issuer": ISSUER}])
async def test_a_configured_audience_is_required(issuer: Issuer, jwks: dict[str, str]) -> None:
    with pytest.raises(NotBelieved, match="no `aud`"):
        await user(issuer, issuer.sign(aud=None), **jwks)


def sent(*authorization: str) -> Any:
    return make_mocked_request("GET", "/", CIMultiDict(("Authorization", one) for one in authorization))


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER  abc ", "Bearer a.b-c_d~e+f/g=="])
def test_the_bearer_scheme_is_read_in_upper_and_lower_case(header: str) -> None:
    assert bearer(sent(header)) == header.split()[1]


@pytest.mark.parametrize(
    "headers",
    [("Bearer",), ("Bearer ",), ("Bearer a b",), ("Bearer a,b",), ("Bearer é",), ("Bearer =",),
     ("Bearer a", "Bearer a"), ("Bearer a", "Basic b")],
)  # fmt: skip
def test_a_header_that_can_not_hold_a_token_is_refused_unread(headers: tuple[str, ...]) -> None:
    with pytest.raises(NotBelieved):
        bearer(sent(*headers))


@pytest.mark.parametrize("headers", [(), ("",), ("Basic YWxpY2U6c2VjcmV0",), ("Bearerabc",), ("abc",)])
def test_a_request_without_a_bearer_token_has_no_credential(headers: tuple[str, ...]) -> None:
    with pytest.raises(Unauthorized) as raised:
        bearer(sent(*headers))
    assert not isinstance(raised.value, NotBelieved)


def test_messages_to_a_caller_are_signed_with_a_key_known_to_it() -> None:
    """A caller with an API key can compute its digest. All others here have LiveKit's key."""
    keys = authenticator(jwks_url="https://issuer.example.com/jwks", jwks_audience="us").signing_keys
    assert keys("acme") == ("acme", ACME.entry.digest)
    for owner in ("livekit", "dev", "", "jwks:https://issuer.example.com/jwks", "nobody"):
        assert keys(owner) == (LIVEKIT_KEY, LIVEKIT_SECRET)
