"""The Python client against the real API and against servers that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from http_api.models.responses import SessionWithToken
from scripts.free_ports import free_port
from session_manager_client import ApiError, Client, Unreachable
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api


@asynccontextmanager
async def client_of(api: Api) -> AsyncIterator[Client]:
    async with Client(f"http://127.0.0.1:{api.port}") as client:
        yield client


@pytest.fixture
async def client(api: Api) -> AsyncIterator[Client]:
    async with client_of(api) as client:
        yield client


HANG_UP, SAY_NOTHING = "hang up", "say nothing"


class Server:
    """Answers each request with the next of `answers`, and keeps the requests."""

    def __init__(self, *answers: web.Response | str) -> None:
        self.answers = list(answers)
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[Client]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        try:
            port = free_port()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            async with Client(f"http://127.0.0.1:{port}", **options) as client:
                yield client
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        self.bodies.append(await request.read())
        answer = self.answers.pop(0)
        if isinstance(answer, web.Response):
            return answer
        assert request.transport is not None
        if answer == HANG_UP:
            request.transport.abort()
        never: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        return await never


def refusal(status: int, slug: str = "overloaded", after: str | None = None) -> web.Response:
    return web.json_response(
        {"type": f"urn:problem-type:session-manager:{slug}", "title": "No", "status": status},
        status=status,
        content_type="application/problem+json",
        headers={} if after is None else {"Retry-After": after},
    )


def no_services() -> web.Response:
    return web.json_response({"services": []})


async def test_session_block_has_a_ready_session_and_closes_it(client: Client, api: Api) -> None:
    async with client.session(required_services=[]) as s:
        assert s.access_token.startswith("eyJ")
        assert s.state == "ready"
        assert s.user_identity.startswith("user-")
        assert s.access_token not in repr(s)
        assert api.parts.store.get(s.session_id).end is None
    assert (await client.get(s.session_id)).reason == "closed"


async def test_session_block_closes_the_session_on_an_exception(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client.session(user_identity="alice", required_services=[]) as s:
            raise ZeroDivisionError
    assert (await client.get(s.session_id)).ended_at is not None


async def test_until_ready_waits_for_the_services(client: Client, api: Api) -> None:
    await api.register("asr-service")
    created = await client.create(user_identity="alice", required_services=["asr-service"])
    assert (created.state, isinstance(created, SessionWithToken)) == ("waiting", False)
    waiting = asyncio.create_task(client.until_ready(created.session_id))
    await api.say_ready(created.session_id, "asr-service")
    assert (await waiting).access_token


async def test_cancelled_session_block_leaves_no_session_behind(client: Client, api: Api) -> None:
    await api.register("asr-service")

    async def use() -> None:
        async with client.session(required_services=["asr-service"]):
            raise AssertionError("it can't be ready")

    using = asyncio.create_task(use())
    await api.livekit.invited.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    [session] = api.parts.store.list()
    assert session.over


async def test_failed_session_block_raises_the_servers_problem(start_api: StartApi) -> None:
    api = await start_api(ready_timeout=2)
    await api.register("asr-service")
    async with client_of(api) as client:
        with pytest.raises(ApiError) as mine:
            async with client.session(user_identity="alice", required_services=["asr-service"]):
                raise AssertionError("it can't be ready")
        with pytest.raises(ApiError) as servers:
            await client.create(user_identity="alice", required_services=["asr-service"], wait=30)
    for problem in (mine.value, servers.value):
        assert (problem.status, problem.slug, problem.title) == (504, "not_ready", "Not ready in time")
        assert [(s.service_id, s.reason) for s in problem.services] == [("asr-service", "never_joined")]
        assert "asr-service: never_joined" in str(problem)


async def test_api_error_names_every_invalid_field(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        await client.create(user_identity="sm-me", room_name="two\nlines", required_services=[])
    problem = caught.value
    assert (problem.status, problem.slug) == (422, "invalid")
    assert {wrong.field for wrong in problem.errors} == {"user_identity", "room_name"}
    assert problem.request_id is not None
    assert problem.request_id in str(problem)
    assert "room_name" in str(problem)


async def test_client_lists_sessions_over_all_pages(client: Client, api: Api) -> None:
    wanted = {(await client.create(required_services=[])).session_id for _ in range(3)}
    await client.close(min(wanted))
    assert {s.session_id async for s in client.sessions()} == wanted
    assert {s.session_id async for s in client.sessions(state=["ended", "failed"])} == {min(wanted)}
    assert [s async for s in client.sessions(service="asr-service")] == []


async def test_client_repeats_the_filters_with_each_cursor() -> None:
    empty: list[Any] = []
    server = Server(
        web.json_response({"sessions": empty, "next_cursor": "abc"}),
        web.json_response({"sessions": empty, "next_cursor": None}),
    )
    async with server.client() as client:
        assert [s async for s in client.sessions(state=["ready", "active"])] == []
    first, second = (request.query for request in server.asked)
    assert "cursor" not in first
    assert (second["cursor"], second.getall("state")) == ("abc", ["ready", "active"])


async def test_get_returns_the_known_session_until_it_changes(client: Client, api: Api) -> None:
    await api.register("asr-service")
    created = await client.create(required_services=["asr-service"])
    await api.livekit.invited.wait()
    known = await client.get(created.session_id)
    assert await client.get(created.session_id, known=known) is known
    looking = asyncio.create_task(client.get(created.session_id, known=known, wait=30))
    await api.say_ready(created.session_id, "asr-service")
    assert (await looking).revision > known.revision


async def test_follow_yields_every_revision_to_the_end(client: Client, api: Api) -> None:
    await api.register("asr-service")
    created = await client.create(required_services=["asr-service"])
    seen = []
    async for session in client.follow(created.session_id):
        seen.append(session)
        if len(seen) == 1:
            await api.say_ready(created.session_id, "asr-service")
        elif session.state == "ready":
            await client.close(created.session_id)
    assert [seen[0].state, seen[-1].state] == ["waiting", "ended"]
    revisions = [session.revision for session in seen]
    assert revisions == sorted(set(revisions))


async def test_follow_resumes_after_a_broken_connection(client: Client) -> None:
    async with client.session(required_services=[]) as s:
        first = s.model_dump_json(exclude={"server_url", "access_token", "token_expires_at"})
    ended = (await client.get(s.session_id)).model_dump_json()
    server = Server(
        web.Response(text=f": heartbeat\n\nid: 3\ndata: {first}\n\nid: 4\ndata: {{", content_type="text/event-stream"),
        HANG_UP,
        refusal(503, after="0"),
        web.Response(text=f"id: 3\r\ndata: {first}\r\n\r\nid: 9\r\ndata: {ended}\r\n\r\n"),
        web.Response(status=204),
    )
    async with server.client() as other:
        states = [session.state async for session in other.follow(s.session_id)]
    assert states == ["ready", "ended"]
    assert [request.headers.get("Last-Event-ID") for request in server.asked] == [None, "3", "3", "3", "9"]


async def test_following_an_unknown_session_raises_an_api_error(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        async for _ in client.follow("ses_0"):
            pass
    assert caught.value.slug == "unknown_session"


async def test_closed_follow_leaves_no_reader_behind(client: Client, api: Api) -> None:
    async with client.session(required_services=[]) as s, aclosing(client.follow(s.session_id)) as changes:
        async for _ in changes:
            break


async def test_further_participants_get_their_own_tokens(client: Client) -> None:
    async with client.session(user_identity="alice", required_services=[]) as s:
        again = await client.token(s.session_id)
        bob = await client.add_participant(s.session_id, identity="bob", name="Bob")
    assert again.access_token != s.access_token
    assert (bob.identity, bob.room_name) == ("bob", s.room_name)
    assert bob.access_token not in repr(bob)


async def test_client_registers_shows_and_removes_services(client: Client) -> None:
    where = "http://127.0.0.1:1/"
    made = await client.register(
        service_id="asr-service", endpoint=where, metadata={"type": "ASR"}, capacity=2, lease_seconds=30
    )
    assert (made.type, made.capacity, made.endpoint) == ("ASR", 2, where)
    assert (await client.heartbeat("asr-service", load=0.5, endpoint=where)).load == 0.5
    assert [s.service_id for s in await client.services()] == ["asr-service"]
    assert (await client.service("asr-service")).load == 0.5
    await client.remove("asr-service", endpoint=where)
    with pytest.raises(ApiError, match="unknown_service"):
        await client.service("asr-service")


async def test_client_escapes_ids_in_paths(client: Client) -> None:
    for odd in ("../microservices", "a/b?c#d", "%2e%2e", "\N{SNOWMAN}"):
        with pytest.raises(ApiError) as caught:
            await client.get(odd)
        assert caught.value.status == 404


async def test_client_reports_the_servers_health(client: Client, api: Api) -> None:
    assert (await client.health()).manager_agent == "registered"
    api.agent.is_registered = False
    assert (await client.health()).manager_agent == "not registered"


@pytest.mark.parametrize("first", [lambda: HANG_UP, lambda: refusal(503, after="0"), lambda: refusal(429, after="0")])
async def test_client_retries_temporary_failures(first: Callable[[], web.Response | str]) -> None:
    server = Server(first(), first(), no_services())
    async with server.client() as client:
        assert await client.services() == []


async def test_client_prints_nothing_of_its_retries(capfd: pytest.CaptureFixture[str]) -> None:
    """What a program prints is its own affair: it may be piped into another."""
    server = Server(refusal(503, after="0"), HANG_UP, no_services())
    async with server.client() as client:
        assert await client.services() == []
    assert capfd.readouterr().out == ""


async def test_retried_create_repeats_its_body_and_idempotency_key() -> None:
    server = Server(HANG_UP, refusal(409, "idempotency_conflict", after="0"), refusal(403, "forbidden"))
    async with server.client() as client:
        with pytest.raises(ApiError, match="403"):
            await client.create(required_services=[])
        server.answers.append(refusal(403, "forbidden"))
        with pytest.raises(ApiError, match="403"):
            await client.create(required_services=[])
    keys = [request.headers["Idempotency-Key"] for request in server.asked]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert server.bodies[0] == server.bodies[1] == server.bodies[2]


async def test_create_with_a_lost_answer_makes_one_session(api: Api) -> None:
    """A proxy forwards the first request and disconnects instead of answering."""
    async with client_of(api) as direct:
        lost = 0

        async def pass_on(request: web.Request) -> web.Response:
            nonlocal lost
            headers = {name: request.headers[name] for name in ("Content-Type", "Prefer", "Idempotency-Key")}
            async with api.http.post(request.path, data=await request.read(), headers=headers) as answer:
                body = await answer.read()
            if not lost:
                lost += 1
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=answer.status, body=body, content_type="application/json")

        app = web.Application()
        app.router.add_post("/{path:.*}", pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with Client(f"http://127.0.0.1:{port}") as client:
            created = await client.create(required_services=[])
        await runner.cleanup()
        assert lost == 1
        assert [s.session_id async for s in direct.sessions()] == [created.session_id]


@pytest.mark.parametrize("after", [None, "3600", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_long_or_unknown_retry_after_is_raised_at_once(after: str | None) -> None:
    server = Server(refusal(503, after=after))
    async with server.client() as client:
        with pytest.raises(ApiError, match="503"):
            await client.services()


async def test_client_without_max_wait_never_retries() -> None:
    server = Server(refusal(503, after="0"))
    async with server.client(max_wait=0) as client:
        with pytest.raises(ApiError, match="503"):
            await client.services()


async def test_refused_connection_names_the_url() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with Client(url, max_wait=0) as client:
        with pytest.raises(Unreachable, match=f"{url}.*Connection refused"):
            await client.services()


async def test_client_times_out_on_a_silent_server() -> None:
    async with Server(SAY_NOTHING).client(timeout=0.05, max_wait=0) as client:
        with pytest.raises(Unreachable, match="in time"):
            await client.services()


@pytest.mark.parametrize("body", ["<html>", '{"services": 3}', '{"ok": true}'])
async def test_client_rejects_answers_of_another_program(body: str) -> None:
    async with Server(web.Response(text=body)).client() as client:
        with pytest.raises(Unreachable, match="is not a session manager"):
            await client.services()


async def test_client_ignores_fields_of_a_later_version() -> None:
    server = Server(web.json_response({"status": "ok", "version": "9", "manager_agent": "registered", "rooms": 3}))
    async with server.client() as client:
        assert (await client.health()).version == "9"


async def test_client_sends_its_key_to_the_server_only() -> None:
    key = "sm_" + "k" * 43
    server = Server(web.Response(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"}), HANG_UP, HANG_UP)
    async with server.client(api_key=key, max_wait=0) as client:
        with pytest.raises(ApiError, match="302"):
            await client.services()
        with pytest.raises(Unreachable) as caught:
            await client.services()
        assert key not in f"{client!r} {caught.value!r} {caught.value.__cause__!r}"
    assert {request.headers["Authorization"] for request in server.asked} == {f"Bearer {key}"}


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://user:pw@host", "http://host?x=1"])
def test_client_refuses_an_unusable_url(url: str) -> None:
    with pytest.raises(ValueError, match="session manager"):
        Client(url)
