"""Access control: every operation of the OpenAPI document, called with every kind of credential.

The tenant Acme has a session with a service; other callers must see nothing of it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jwt
import pytest
from multidict import CIMultiDictProxy

from http_api.access.api_keys import new_key
from http_api.access.principals import Permission
from http_api.openapi.document import document
from http_api.resources.session_requests import SESSION_REQUESTS
from http_api.routes import OPERATIONS
from http_api.settings.settings import Settings
from manager_agent.registry.services import RegisteredService
from manager_agent.store.room_names import LEEWAY
from tests import tenants
from tests.api.stand_ins import Api, StartApi
from tests.api.streams.feed_reader import Feed
from tests.issuer import AUDIENCE, ISSUER, Issuer, jwk, rsa_key

pytestmark = pytest.mark.api

SERVICE = "acme-asr"
PRIVATE = {
    "room_name": "acme-room-of-its-own",
    "user_identity": "acme-user-identity",
    "user_name": "Acme User Name",
    "metadata": {"acme-metadata-key": "acme-metadata-value"},
    "user_attributes": {"acme-attribute": "acme-attribute-value"},
}
WORDS = (
    *("acme-room-of-its-own", "acme-user-identity", "Acme User Name", "acme-metadata-key", "acme-metadata-value"),
    *("acme-attribute", "acme-attribute-value"),
)

ANOTHER_KEY = rsa_key()

Asked = Mapping[str, str]
"""The headers of a request."""


@dataclass(frozen=True)
class OperationCall:
    """An operation of the document, and how to call it."""

    method: str
    path: str
    proof: str | None
    """The kind of credential without a scope: `invite` or `signature`; None: of a caller, or none."""
    scope: str | None
    front_end: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_public(self) -> bool:
        return self.proof is None and self.scope is None

    @property
    def is_of_a_session(self) -> bool:
        return "{session_id}" in self.path

    @property
    def body(self) -> dict[str, Any] | None:
        return BODIES.get(str(self))


BODIES: dict[str, dict[str, Any]] = {
    "POST /api/v1/sessions": {"user_identity": "bob", "required_services": []},
    "POST /api/v1/sessions/{session_id}/participants": {"identity": "carol"},
    "POST /api/v1/sessions/{session_id}/ready": {"service_id": SERVICE},
    "POST /api/v1/token": {"room_name": PRIVATE["room_name"], "participant_identity": "bob"},
    "POST /api/v1/microservices/register": {
        "service_id": SERVICE, "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"},
    },
}  # fmt: skip
"""The body of each operation that needs one: with it, only the credential is missing."""
TAKEN_BY_ANOTHER = {
    "POST /api/v1/token": 409,
    "POST /api/v1/microservices/register": 409,
    "GET /api/v1/microservices/{service_id}": 404,
    "DELETE /api/v1/microservices/{service_id}": 404,
    "POST /api/v1/microservices/{service_id}/heartbeat": 404,
}
"""The status for a caller who may use the operation, but not on what Acme owns, where it is not 404."""
WITHOUT_REPLICAS = {"POST /api/v1/replicas/drain": 409}
"""The status for a caller who may use the operation, which needs other replicas."""


def calls() -> Iterator[OperationCall]:
    for path, operations in document(OPERATIONS)["paths"].items():
        for method, told in operations.items():
            kinds: dict[str, list[str]] = {}
            for kind in told.get("security", ()):
                kinds |= kind
            proof = next((kind for kind in ("invite", "signature") if kind in kinds), None)
            scope = next(iter(kinds.get("api_key", ())), None)
            yield OperationCall(method.upper(), path, proof, scope, "issuer_jwt" in kinds)


CALLS = list(calls())
of_callers = [call for call in CALLS if call.scope is not None]


def test_document_names_the_credential_of_every_operation() -> None:
    """Operations that the document leaves out are public."""
    served = {f"{operation.method} {operation.path}": operation.access for operation in OPERATIONS}
    undocumented = served.keys() - {str(call) for call in CALLS}
    assert {served[name] for name in undocumented} <= {Permission.PUBLIC}
    for call in CALLS:
        access = served[str(call)]
        assert call.scope == access.scope
        assert (call.proof is not None) == (access is Permission.OWN_PROOF)
        assert call.front_end == (access is Permission.FRONT_END)


PROFILE = {"room_config": {"agents": [{"agent_name": "plain"}]}}
"""Asks for a session without services."""


@dataclass
class Ground:
    """An API outside dev mode, with a ready session of Acme."""

    api: Api
    issuer: Issuer
    session_id: str
    words: tuple[str, ...]
    """What no other caller may read."""
    invite: str
    user_token: str

    async def ask(self, call: OperationCall, headers: Asked, method: str | None = None) -> tuple[int, str, Any, str]:
        """Status, body, headers, and what the request itself contained."""
        path = call.path.format(session_id=self.session_id, service_id=SERVICE)
        sent = {"Prefer": "respond-async", **headers}
        async with self.api.http.request(method or call.method, path, json=call.body, headers=sent) as answer:
            is_stream = answer.content_type == "text/event-stream"
            body = await (answer.content.readany() if is_stream else answer.read())
            return answer.status, body.decode(), answer.headers, f"{path} {call.body}"

    def leaks(self, said: str, text: str, headers: CIMultiDictProxy[str]) -> list[str]:
        """The words of Acme in an answer whose request did not contain them."""
        shown = f"{text} {dict(headers)}"
        return [word for word in self.words if word in shown and word not in said]


@pytest.fixture
async def ground(start_api: StartApi) -> AsyncIterator[Ground]:
    async with Issuer() as issuer:
        jwks = {"jwks_url": issuer.url, "jwks_audience": AUDIENCE, "jwks_issuer": ISSUER, "jwks_rooms_claim": "rooms"}
        api = await start_api(Settings, **tenants.production(rate_limit=100_000, rate_limit_burst=1_000_000, **jwks))
        assert isinstance(api.parts.profiles, dict)
        api.parts.profiles["plain"] = []
        entry = {"service_id": SERVICE, "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
        assert (await api.ask("POST", "/microservices/register", entry, tenants.ACME.proof))[0] == 201
        wanted = {**PRIVATE, "required_services": [SERVICE]}
        status, _, session = await api.ask(
            "POST", "/sessions", wanted, {"Prefer": "respond-async"} | tenants.ACME.proof
        )
        assert status == 202, session
        session_id = session["session_id"]
        assert (await api.say_ready(session_id, SERVICE))[0] == 200
        await api.until(session_id, lambda session: session.state == "ready")
        token = (await api.ask("GET", f"/sessions/{session_id}", headers=tenants.ACME.proof))[2]["access_token"]
        invite = api.livekit.invites[SERVICE]
        yield Ground(api, issuer, session_id, (*WORDS, session_id, token, invite), invite, token)


def signed(
    secret: str = tenants.LIVEKIT_SECRET, algorithm: str = "HS256", key: str = tenants.LIVEKIT_KEY, **more: Any
) -> Asked:
    """A JWT that would allow everything if it were valid."""
    claims = {"iss": key, "exp": time.time() + 300, "video": {"roomCreate": True, "roomAdmin": True}, **more}
    said = {name: value for name, value in claims.items() if value is not None}
    return tenants.bearer(jwt.encode(said, secret or None, algorithm))  # type: ignore[arg-type]


def unbelievable(ground: Ground) -> dict[str, Asked]:
    """Credentials that are invalid everywhere."""
    key, digest = tenants.ACME.key, base64.b64encode(hashlib.sha256(b"").digest()).decode()
    stranger = ground.issuer
    return {
        "no key": {},
        "a blank header": {"Authorization": ""},
        "no key after Bearer": {"Authorization": "Bearer"},
        "another scheme": {"Authorization": "Basic " + base64.b64encode(f"acme:{key}".encode()).decode()},
        "the key without Bearer": {"Authorization": key},
        "the key in another header": {"X-Api-Key": key},
        "the key as a cookie": {"Cookie": f"api_key={key}"},
        "a key that nobody has": tenants.bearer(new_key()),
        "the key cut off": tenants.bearer(key[:-1]),
        "the key and more": tenants.bearer(key + "A"),
        "two keys": tenants.bearer(f"{key}, {key}"),
        "what stands in API_KEYS": tenants.bearer(tenants.ACME.entry.digest),
        "the name": tenants.bearer(tenants.ACME.name),
        "LiveKit's secret": tenants.bearer(tenants.LIVEKIT_SECRET),
        "no JWT": tenants.bearer("eyJhbGciOiJIUzI1NiJ9.e30."),
        "an expired JWT": signed(exp=time.time() - 60),
        "a JWT for later": signed(nbf=time.time() + 600),
        "a JWT without end": signed(exp=None),
        "a JWT of another secret": signed("another-secret-of-thirty-two-bytes-or-more"),
        "a JWT of no secret": signed("", "none"),
        "a JWT of another key": signed(key="another-key"),
        "a JWT of an API key": signed(tenants.ACME.entry.digest, key=tenants.ACME.name),
        "a JWT by another algorithm": signed(algorithm="HS512"),
        "a signature of a webhook": signed(sha256=digest),
        "an expired JWT of the issuer": tenants.bearer(stranger.sign(exp=time.time() - 60)),
        "a JWT of the issuer for others": tenants.bearer(stranger.sign(aud="somebody else")),
        "a JWT of another issuer": tenants.bearer(stranger.sign(iss="https://elsewhere.example.com/")),
        "a JWT that another key signed": tenants.bearer(stranger.sign(key=ANOTHER_KEY)),
        "the issuer's public key as a secret": tenants.bearer(public_key_as_a_secret(stranger)),
    }


def public_key_as_a_secret(issuer: Issuer) -> str:
    """A JWT signed by HMAC with the public key: a verifier that lets the JWT choose the algorithm accepts it."""
    public = jwk("rsa-1", issuer.keys["rsa-1"])["n"]
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": time.time() + 300}
    return jwt.encode(claims, public, "HS256", {"kid": "rsa-1"})


def too_little(ground: Ground, call: OperationCall) -> dict[str, Asked]:
    """Valid credentials without the permission for this operation."""
    return {
        "too small a scope": (tenants.ACME if call.scope == "metrics" else tenants.WATCHER).proof,
        "a user's join token": tenants.bearer(ground.user_token),
        "a service's invite token": tenants.bearer(ground.invite),
        "a JWT that joins a room": tenants.bearer(
            tenants.livekit_token("alice", room_join=True, room=PRIVATE["room_name"])
        ),
        "a JWT that administers one room": tenants.bearer(
            tenants.livekit_token(room_admin=True, room=PRIVATE["room_name"])
        ),
        "a JWT that lists rooms": tenants.bearer(tenants.livekit_token(room_list=True)),
        "a user of the issuer": tenants.bearer(ground.issuer.sign()),
    }


def others() -> dict[str, Asked]:
    """Other callers with the same permissions as Acme."""
    return {
        "another tenant": tenants.RIVAL.proof,
        "who may make rooms on LiveKit": tenants.bearer(tenants.livekit_token(room_create=True)),
    }


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_invalid_credentials_are_rejected_by_every_operation(call: OperationCall, ground: Ground) -> None:
    for name, headers in unbelievable(ground).items():
        if call.proof == "signature" and name == "a signature of a webhook":
            continue
        status, text, answered, said = await ground.ask(call, headers)
        assert ground.leaks(said, text, answered) == [], f"{call} with {name}: {text}"
        if call.is_public:
            assert status == 200, f"{call} with {name}: {text}"
            continue
        assert status == 401, f"{call} with {name}: {text}"
        challenge = answered["WWW-Authenticate"]
        assert challenge in ("Bearer", 'Bearer error="invalid_token"')
        if call.scope is not None and name == "no key":
            assert challenge == "Bearer"
        if call.method == "GET":
            assert (await ground.ask(call, headers, "HEAD"))[0] == 401, f"HEAD with {name}"
    assert not ground.api.parts.store.get(ground.session_id).over


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_valid_credentials_without_the_permission_are_rejected(call: OperationCall, ground: Ground) -> None:
    """A ready signal is accepted from the invited service only."""
    for name, headers in too_little(ground, call).items():
        if (call.proof == "invite" and name == "a service's invite token") or (call.front_end and "issuer" in name):
            continue
        status, text, answered, said = await ground.ask(call, headers)
        assert ground.leaks(said, text, answered) == [], f"{call} with {name}: {text}"
        if call.scope is not None:
            assert status == 403, f"{call} with {name}: {text}"
            assert f"the scope {call.scope}" in text
            assert answered["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{call.scope}"'
        elif call.proof is not None:
            assert status in (401, 403), f"{call} with {name}: {text}"
        else:
            assert status == 200
    assert not ground.api.parts.store.get(ground.session_id).over


@pytest.mark.parametrize("call", of_callers, ids=str)
async def test_another_caller_sees_nothing_of_a_tenants_session(call: OperationCall, ground: Ground) -> None:
    for name, headers in others().items():
        if call.scope == "admin" or call.scope == "metrics":
            headers = tenants.OPERATOR.proof
        status, text, answered, said = await ground.ask(call, headers)
        assert ground.leaks(said, text, answered) == [], f"{call} with {name}: {text}"
        if call.is_of_a_session:
            assert status == 404, f"{call} with {name}: {text}"
        else:
            expected = (TAKEN_BY_ANOTHER | WITHOUT_REPLICAS).get(str(call))
            assert status == expected or (expected is None and 200 <= status < 300), f"{call} with {name}: {text}"
    assert not ground.api.parts.store.get(ground.session_id).over
    assert ground.api.parts.registry.get(SERVICE).owner == tenants.ACME.name


@pytest.mark.parametrize("call", [call for call in of_callers if call.is_of_a_session], ids=str)
async def test_another_callers_session_looks_like_an_unknown_session(call: OperationCall, ground: Ground) -> None:
    theirs, never = ground.session_id, "ses_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    shown = []
    for session_id in (theirs, never):
        ground.session_id = session_id
        status, text, headers, _ = await ground.ask(call, tenants.RIVAL.proof | {"X-Request-Id": "the-same"})
        answered = {name: value for name, value in headers.items() if name not in ("Date", "RateLimit")}
        shown.append((status, text.replace(session_id, "..."), answered))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_every_operation_succeeds_with_the_right_credential(call: OperationCall, ground: Ground) -> None:
    proof = tenants.ACME.proof
    if call.proof == "invite":
        proof = tenants.bearer(ground.invite)
    elif call.proof == "signature":
        body = b'{"event": "room_started"}'
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"Authorization": signed(sha256=digest)["Authorization"].removeprefix("Bearer ")}
        async with ground.api.http.request(call.method, call.path, data=body, headers=headers) as answer:
            assert answer.status == 200
        return
    elif call.scope in ("admin", "metrics"):
        proof = tenants.OPERATOR.proof
    status, text, _, _ = await ground.ask(call, proof)
    assert status == WITHOUT_REPLICAS.get(str(call), status), text
    assert 200 <= status < 300 or str(call) in WITHOUT_REPLICAS, text


async def test_admin_sees_and_ends_a_session_but_gets_no_token(ground: Ground) -> None:
    api, session = ground.api, f"/sessions/{ground.session_id}"
    for proof in (tenants.OPERATOR.proof, tenants.bearer(tenants.livekit_token(room_create=True, room_admin=True))):
        status, _, shown = await api.ask("GET", session, headers=proof)
        assert (status, shown["user_identity"], "access_token" in shown) == (200, PRIVATE["user_identity"], False)
        assert (await api.ask("POST", session + "/token", headers=proof))[0] == 404
        listed = (await api.ask("GET", "/sessions", headers=proof))[2]["sessions"]
        assert [one["session_id"] for one in listed] == [ground.session_id]
    assert (await api.ask("DELETE", session, headers=tenants.OPERATOR.proof))[2]["reason"] == "closed"
    assert (await api.ask("DELETE", f"/microservices/{SERVICE}", headers=tenants.OPERATOR.proof))[0] == 200


async def test_issuer_user_is_refused_a_token_for_another_identity_or_room(ground: Ground) -> None:
    api, wanted = ground.api, {"room_config": {"agents": [{"agent_name": SERVICE}]}}
    for kid in ground.issuer.keys:
        for body, expected in (({"participant_identity": "bob"}, 403), ({"room_name": PRIVATE["room_name"]}, 409)):
            status, _, problem = await api.ask("POST", "/token", wanted | body, tenants.bearer(ground.issuer.sign(kid)))
            assert status == expected, problem
    assert (await api.ask("POST", "/token", wanted, tenants.bearer(ground.issuer.sign(sub="sm-manager-1"))))[0] == 403


async def test_issuer_user_gets_a_token_when_the_services_are_ready(ground: Ground) -> None:
    api, registry = ground.api, ground.api.parts.registry
    registry.register(replace(registry.get(SERVICE), shared=True))  # users of the issuer have no services of their own
    profile = {"room_name": "of-alice", "room_config": {"agents": [{"agent_name": SERVICE}]}}
    api.livekit.invited.clear()
    asking = api.http.post("/api/v1/token", json=profile, headers=tenants.bearer(ground.issuer.sign("ec-1")))

    async def serve() -> None:
        await api.livekit.invited.wait()
        session = api.parts.store.in_room("of-alice")
        assert session is not None
        assert (await api.say_ready(session.session_id, SERVICE))[0] == 200

    serving = asyncio.create_task(serve())
    async with asking as answer:
        await serving
        body = await answer.json()
        assert answer.status == 201, body
    claims = jwt.decode(body["participant_token"], tenants.LIVEKIT_SECRET, ["HS256"])
    assert (claims["sub"], claims["video"]["room"]) == ("alice", "of-alice")
    session = api.parts.store.in_room("of-alice")
    assert session is not None
    assert session.owner == f"jwks:{ISSUER}:alice"


async def test_room_of_a_user_lets_in_another_only_if_both_tokens_list_it(ground: Ground) -> None:
    """JWKS_ROOMS_CLAIM names the claim. A token that lists another room does not help, nor one of the two alone."""
    api = ground.api

    async def ask(sub: str, room: str, *shared: str) -> int:
        proof = tenants.bearer(ground.issuer.sign(sub=sub, rooms=list(shared)))
        return (await api.ask("POST", "/token", {"room_name": room, **PROFILE}, proof))[0]

    assert await ask("alice", "private") == 201
    assert await ask("alice", "private") == 201
    assert await ask("bob", "private") == 409
    assert await ask("bob", "private", "private") == 409
    assert await ask("alice", "standup", "standup") == 201
    assert await ask("bob", "standup", "another") == 409
    assert await ask("bob", "standup", "another", "standup") == 201


async def test_room_name_of_a_user_stays_reserved_until_the_token_expires(ground: Ground) -> None:
    """For other users and callers. Its own user may restart it at once."""
    api = ground.api
    alice, bob = (tenants.bearer(ground.issuer.sign(sub=sub)) for sub in ("alice", "bob"))
    body = {"room_name": "mine", **PROFILE}
    _, _, given = await api.ask("POST", "/token", body, alice)
    expires_at = jwt.decode(given["participant_token"], tenants.LIVEKIT_SECRET, ["HS256"])["exp"]
    session = api.parts.store.in_room("mine")
    assert session is not None
    await api.parts.orchestrator.close(session.session_id)
    before = time.time()
    status, headers, problem = await api.ask("POST", "/token", body, bob)
    after = time.time()
    assert (status, problem["type"].rpartition(":")[2]) == (409, "room_name_taken")
    free_at = expires_at + LEEWAY
    assert free_at - after <= int(headers["Retry-After"]) <= free_at - before + 1
    assert (await api.ask("POST", "/token", body, alice))[0] == 201


async def test_users_of_one_issuer_have_quotas_of_their_own(ground: Ground) -> None:
    ground.api.app[SESSION_REQUESTS].quotas._per_caller = 1

    async def ask(sub: str, room_name: str) -> int:
        body = {**PROFILE, "room_name": room_name}
        return (await ground.api.ask("POST", "/token", body, tenants.bearer(ground.issuer.sign(sub=sub))))[0]

    assert [await ask("alice", "one"), await ask("alice", "two"), await ask("bob", "three")] == [201, 429, 201]


async def test_unreachable_issuer_gives_503_with_retry_after(ground: Ground) -> None:
    ground.issuer.status = 503
    status, headers, problem = await ground.api.ask("POST", "/token", {}, tenants.bearer(ground.issuer.sign()))
    assert (status, problem["type"].rpartition(":")[2]) == (503, "keys_unavailable")
    assert int(headers["Retry-After"]) > 0
    assert (await ground.api.ask("GET", "/sessions", headers=tenants.ACME.proof))[0] == 200


async def test_rejection_names_a_claim_only_to_those_who_have_a_signed_token(ground: Ground) -> None:
    ask = ground.api.ask
    said = {
        name: (await ask("GET", "/sessions", headers=dict(headers)))[2]["detail"]
        for name, headers in unbelievable(ground).items()
        if headers.get("Authorization", "").startswith("Bearer eyJ")
    }
    claims = {
        "an expired JWT": "`exp`",
        "a JWT for later": "`nbf`",
        "a JWT without end": "`exp`",
        "a JWT of another key": "`iss`",
        "an expired JWT of the issuer": "`exp`",
        "a JWT of the issuer for others": "`aud`",
        "a JWT of another issuer": "`iss`",
        "a signature of a webhook": "`sha256`",
    }
    assert [name for name, claim in claims.items() if claim not in said[name]] == []
    assert {detail for name, detail in said.items() if name not in claims} == {"the key or token is not valid"}
    shown = " ".join(said.values())
    assert AUDIENCE not in shown
    assert ISSUER not in shown


async def test_deep_health_needs_the_admin_or_metrics_scope(start_api: StartApi) -> None:
    """LiveKit is down here: a permitted check is tried and fails."""
    api = await start_api(Settings, **tenants.production())
    api.livekit.down = True
    expected: tuple[tuple[Asked, int], ...] = (
        *(({}, 401), (tenants.bearer("wrong"), 401), (tenants.ACME.proof, 403)),
        *((tenants.WATCHER.proof, 503), (tenants.OPERATOR.proof, 503)),
    )
    answers = await asyncio.gather(*(api.ask("GET", "//health?deep=true", headers=dict(p)) for p, _ in expected))
    assert [status for status, _, _ in answers] == [status for _, status in expected]
    assert answers[2][2]["detail"] == "requires the scope admin or metrics"
    assert (await api.ask("GET", "//health"))[0] == 200


async def test_dev_mode_needs_no_key_on_loopback_only(start_api: StartApi) -> None:
    """On another address any host could call."""
    assert (await (await start_api()).ask("GET", "/sessions"))[0] == 200
    elsewhere = await start_api(
        server_host="0.0.0.0", livekit_api_key=tenants.LIVEKIT_KEY, livekit_api_secret=tenants.LIVEKIT_SECRET
    )
    assert (await elsewhere.ask("GET", "/sessions"))[0] == 401
    token = tenants.livekit_token(room_create=True)
    assert (await elsewhere.ask("GET", "/sessions", headers=tenants.bearer(token)))[0] == 200


async def test_service_registered_without_an_owner_may_be_registered_by_any_caller(ground: Ground) -> None:
    """Such as a service registered in dev mode, or before there were keys. Until then it is out of use."""
    registry, heartbeat = ground.api.parts.registry, f"/microservices/{SERVICE}/heartbeat"
    body = BODIES["POST /api/v1/microservices/register"]
    for owner in ("", "dev"):
        registry.register(replace(registry.get(SERVICE), owner=owner))
        assert (await ground.api.ask("POST", heartbeat, headers=tenants.RIVAL.proof))[0] == 404
        assert (await ground.api.ask("POST", "/microservices/register", body, tenants.RIVAL.proof))[0] == 200
        assert registry.get(SERVICE).owner == tenants.RIVAL.name
        assert (await ground.api.ask("POST", "/microservices/register", body, tenants.ACME.proof))[0] == 409


def session_with(*required: Any) -> dict[str, Any]:
    return {"user_identity": "bob", "required_services": list(required)}


async def test_another_callers_service_is_used_by_no_session_of_others(ground: Ground) -> None:
    """Neither by its id nor by its type, and the answer is that for an unknown service."""
    for name, proof in others().items():
        for required in (SERVICE, {"type": "ASR"}):
            status, _, problem = await ground.api.ask("POST", "/sessions", session_with(required), dict(proof))
            assert status == 424, f"{name}: {problem}"
            assert problem["services"][0]["reason"] == "not_registered"


async def test_shared_service_serves_every_caller_and_hides_its_endpoint(ground: Ground) -> None:
    ask, entry = ground.api.ask, {"service_id": "tts", "endpoint": "http://127.0.0.1:7/", "metadata": {"type": "TTS"}}
    shared = entry | {"shared": True}
    status, _, problem = await ask("POST", "/microservices/register", shared, tenants.RIVAL.proof)
    assert (status, problem["detail"]) == (403, "requires the scope admin")
    status, _, shown = await ask("POST", "/microservices/register", shared, tenants.OPERATOR.proof)
    assert (status, shown["shared"], shown["endpoint"]) == (201, True, "http://127.0.0.1:7/")
    for proof in (tenants.RIVAL.proof, tenants.ACME.proof):
        listed = (await ask("GET", "/microservices", headers=proof))[2]["services"]
        [tts] = [service for service in listed if service["service_id"] == "tts"]
        assert (tts["shared"], tts["endpoint"]) == (True, None)
        assert (await ask("GET", "/microservices/tts", headers=proof))[2]["endpoint"] is None
        for required in ("tts", {"type": "TTS"}):
            body = session_with(required)
            assert (await ask("POST", "/sessions", body, proof | {"Prefer": "respond-async"}))[0] == 202
        for method, path in (("DELETE", "/microservices/tts"), ("POST", "/microservices/tts/heartbeat")):
            assert (await ask(method, path, headers=proof))[0] == 409
        assert (await ask("POST", "/microservices/register", entry, proof))[0] == 409


async def test_agent_of_another_caller_can_not_be_registered_under_another_id(ground: Ground) -> None:
    """LiveKit dispatches by the name alone: Acme's workers would join the rival's rooms."""
    ask, bot = ground.api.ask, {"service_id": "bot", "agent_name": "support-bot", "metadata": {"type": "BOT"}}
    lookalike = bot | {"service_id": "lookalike"}
    assert (await ask("POST", "/microservices/register", bot, tenants.ACME.proof))[0] == 201
    status, _, problem = await ask("POST", "/microservices/register", lookalike, tenants.RIVAL.proof)
    assert (status, problem["type"].rpartition(":")[2]) == (409, "other_caller")
    assert problem["detail"] == "'support-bot' is registered by another caller"
    assert (await ask("GET", "/microservices/lookalike", headers=tenants.RIVAL.proof))[0] == 404
    for proof, answer in ((tenants.ACME.proof, 201), (tenants.OPERATOR.proof, 200)):
        assert (await ask("POST", "/microservices/register", lookalike, proof))[0] == answer
    for service_id in ("bot", "lookalike"):
        assert (await ask("DELETE", f"/microservices/{service_id}", headers=tenants.OPERATOR.proof))[0] == 200
    assert (await ask("POST", "/microservices/register", lookalike, tenants.RIVAL.proof))[0] == 201, "it is free again"


async def test_shared_and_static_agents_can_be_registered_by_administrators_only(ground: Ground) -> None:
    ask, registry = ground.api.ask, ground.api.parts.registry
    registry.register(RegisteredService("static", "BOT", None, agent_name="static-bot", static=True))
    shared = {"service_id": "shared", "agent_name": "shared-bot", "metadata": {"type": "BOT"}, "shared": True}
    assert (await ask("POST", "/microservices/register", shared, tenants.OPERATOR.proof))[0] == 201
    for agent_name in ("static-bot", "shared-bot"):
        body = {"service_id": f"my-{agent_name}", "agent_name": agent_name, "metadata": {"type": "BOT"}}
        status, _, problem = await ask("POST", "/microservices/register", body, tenants.RIVAL.proof)
        assert (status, problem["type"].rpartition(":")[2]) == (409, "other_caller")
        assert (await ask("POST", "/microservices/register", body, tenants.OPERATOR.proof))[0] == 201


async def test_administrator_sees_the_services_of_every_caller_with_their_endpoints(ground: Ground) -> None:
    listed = (await ground.api.ask("GET", "/microservices", headers=tenants.OPERATOR.proof))[2]["services"]
    assert [(one["service_id"], one["endpoint"]) for one in listed] == [(SERVICE, "http://127.0.0.1:1/")]


async def test_feed_says_nothing_about_services_of_other_callers(ground: Ground) -> None:
    async with ground.api.http.get("/api/v1/events", headers=tenants.RIVAL.proof) as stream:
        feed = Feed(stream)
        await feed.next()
        path = f"/microservices/{SERVICE}"
        assert (await ground.api.ask("DELETE", path, headers=tenants.ACME.proof))[0] == 200
        own = {"service_id": "rival-asr", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
        assert (await ground.api.ask("POST", "/microservices/register", own, tenants.RIVAL.proof))[0] == 201
        await feed.until("service", lambda service: service["service_id"] == "rival-asr")
        assert SERVICE not in str(feed.told)
