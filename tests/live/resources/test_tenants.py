"""An API outside dev mode: a service, a tenant and an operator, each with its own key."""

from __future__ import annotations

import jwt
import pytest
from livekit import rtc
from pydantic import SecretStr

from http_api.settings.settings import Settings
from manager_agent.livekit.room_connection import connect, disconnect
from service_kit import RegistrationRefused, Service, ServiceSettings, SessionJob
from tests.live.bots import CONNECT_TIMEOUT, QUIETLY
from tests.live.conftest import KEY, SECRET, Site, Stack, StartStack
from tests.tenants import ACME, OPERATOR, RIVAL, WATCHER, Tenant, production
from tests.waiting import waiting_for

pytestmark = pytest.mark.live

INVITES = {"invite_api_key": "invites", "invite_api_secret": SecretStr("an-invite-secret-of-thirty-two-bytes")}


def a_service(*, shared: bool = False) -> Service:
    service = Service("asr-service", type="ASR", lease=1.0, shared=shared)

    @service.on_invite
    async def attend(job: SessionJob) -> None:
        await job.join()
        await job.say_ready()
        await job.ended()

    return service


def settings(stack: Stack, tenant: Tenant | None) -> ServiceSettings:
    key = None if tenant is None else SecretStr(tenant.key)
    return ServiceSettings(_env_file=None, session_manager_url=stack.url, session_manager_api_key=key, **INVITES)  # type: ignore[arg-type]


@pytest.fixture
async def stack(start_stack: StartStack, site: Site) -> Stack:
    keys = production(livekit_api_key=KEY, livekit_api_secret=SECRET, **INVITES)
    return await start_stack(site, kind=Settings, **keys)


async def test_service_of_one_tenant_does_not_exist_for_another(stack: Stack) -> None:
    """Its owner gets it; for the rival no room is created and no token is signed."""
    body = {"user_identity": "alice", "required_services": ["asr-service"]}
    async with a_service().serving(settings(stack, ACME)):
        async with stack.http.post("/api/v1/sessions", json=body, headers=RIVAL.proof) as answer:
            problem = await answer.json()
        assert (answer.status, problem["services"][0]["reason"]) == (424, "not_registered")
        assert await stack.rooms() == []
        service = "/api/v1/microservices/asr-service"
        assert (await stack.http.get(service, headers=RIVAL.proof)).status == 404
        assert (await stack.http.delete(service, headers=RIVAL.proof)).status == 404
        async with stack.http.post("/api/v1/sessions", json=body, headers=ACME.proof) as answer:
            assert answer.status == 201, await answer.text()


async def test_only_an_admin_shares_a_service(stack: Stack) -> None:
    with pytest.raises(RegistrationRefused, match=r"403 .*admin"):
        async with (
            waiting_for("the refusal", lambda: stack.log.getvalue()[-2_000:]),
            a_service(shared=True).serving(settings(stack, ACME)),
        ):
            pytest.fail("it is registered")


async def test_tenant_uses_the_shared_service_of_an_operator(stack: Stack) -> None:
    """The service is invited into the rival's room, where the rival's user meets it; Acme sees no session."""
    body = {"user_identity": "alice", "required_services": ["asr-service"]}
    async with a_service(shared=True).serving(settings(stack, OPERATOR)):
        async with stack.http.post("/api/v1/sessions", json=body, headers=RIVAL.proof) as answer:
            session = await answer.json()
            assert (answer.status, session["state"]) == (201, "ready"), session
        claims = jwt.decode(session["access_token"], SECRET, ["HS256"])
        assert (claims["sub"], claims["video"]["room"]) == ("alice", session["room_name"])
        room, path = rtc.Room(), f"/api/v1/sessions/{session['session_id']}"
        await connect(room, session["server_url"], session["access_token"], QUIETLY, CONNECT_TIMEOUT)
        try:
            await stack.until(session["session_id"], lambda latest: latest.state == "active")
            assert [name for name in room.remote_participants if name.startswith("sm-asr-service")]
        finally:
            await disconnect(room)
        assert (await stack.http.get(path, headers=ACME.proof)).status == 404
        assert (await stack.http.delete(path, headers=ACME.proof)).status == 404
        service = "/api/v1/microservices/asr-service"
        assert (await stack.http.delete(service, headers=RIVAL.proof)).status == 409
        assert (await stack.http.delete(path, headers=RIVAL.proof)).status == 200
        assert (await stack.http.get(service, headers=RIVAL.proof)).status == 200
    assert (await stack.http.get(service, headers=RIVAL.proof)).status == 404, "with its key it has deregistered"


@pytest.mark.parametrize(("tenant", "status"), [(None, 401), (Tenant("unknown"), 401), (WATCHER, 403)])
async def test_refused_registration_ends_the_service_with_a_reason(
    stack: Stack, tenant: Tenant | None, status: int
) -> None:
    with pytest.raises(RegistrationRefused, match=f"{status} .*SESSION_MANAGER_API_KEY"):
        async with (
            waiting_for("the refusal", lambda: stack.log.getvalue()[-2_000:]),
            a_service().serving(settings(stack, tenant)),
        ):
            pytest.fail("it is registered")


async def test_service_of_another_tenant_can_not_be_replaced(stack: Stack) -> None:
    async with a_service().serving(settings(stack, ACME)) as endpoint:
        with pytest.raises(RegistrationRefused, match=r"409.*other_caller"):
            async with a_service().serving(settings(stack, RIVAL)):
                pytest.fail("it is taken over")
        assert stack.registry.get("asr-service").endpoint == endpoint


async def test_deep_health_is_for_operators_only(stack: Stack) -> None:
    assert (await stack.http.get("/health?deep=true")).status == 401
    assert (await stack.http.get("/health?deep=true", headers=ACME.proof)).status == 403
    assert (await stack.http.get("/health?deep=true", headers=OPERATOR.proof)).status == 200
