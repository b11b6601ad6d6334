"""Callbacks to clients' back ends: what is sent, how it is signed and retried, and the list of deliveries."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from http_api.access.api_keys import KeyEntry, digest_of, new_key
from http_api.access.principals import Scope
from http_api.app import create_app
from http_api.models.responses import SessionView
from http_api.server import serving
from http_api.settings.complaint import BadSettings
from http_api.settings.settings import DevSettings, Settings
from manager_agent.outbound.address_policy import LOOPBACK
from scripts.free_ports import free_port
from tests.api.stand_ins import Api, LiveKit, StartApi, stand_ins
from tests.callback_receiver import CallbackReceiver
from tests.documents import code_in
from tests.unit.sessions import left, seen
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.api

SHOP, DESK, BOSS = new_key(), new_key(), new_key()
LIVEKITS = "devkey", "secret"
KEYS: dict[str, Any] = {
    "kind": Settings,
    "livekit_api_key": LIVEKITS[0],
    "livekit_api_secret": LIVEKITS[1],
    "server_host": "127.0.0.1",
    "callback_networks": LOOPBACK,
    "api_keys": (
        KeyEntry("shop", digest_of(SHOP)),
        KeyEntry("desk", digest_of(DESK)),
        KeyEntry("boss", digest_of(BOSS), frozenset({Scope.ADMIN, Scope.SESSIONS})),
    ),
}
"""The settings of a server with three callers; the last is an admin."""


Listen = Callable[..., Awaitable[CallbackReceiver]]


@pytest.fixture(autouse=True)
async def listen() -> AsyncIterator[Listen]:
    """Start a receiver, which lives until the API has reported the end of its sessions."""
    async with AsyncExitStack() as receivers:
        yield lambda *answers, **more: receivers.enter_async_context(CallbackReceiver(*answers, **more))


async def opened(api: Api, key: str | None = None, **more: Any) -> str:
    """Create a session without services and return its id."""
    headers = {"Authorization": f"Bearer {key}"} if key else None
    body = {"user_identity": "alice", "required_services": [], **more}
    status, _, session = await api.ask("POST", "/sessions", body, headers)
    assert status == 201, session
    return str(session["session_id"])


async def callbacks(api: Api, key: str | None = None) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else None
    status, _, listed = await api.ask("GET", "/callbacks", headers=headers)
    assert status == 200, listed
    return list(listed["callbacks"])


async def finished(api: Api, count: int = 1) -> list[dict[str, Any]]:
    """The list, once so many deliveries are finished: a receiver has answered a little before that is known here."""
    return await eventually(
        f"{count} finished deliveries",
        lambda: callbacks(api),
        lambda listed: len([one for one in listed if one["finished_at"]]) >= count,
    )


# --- what comes -------------------------------------------------------------------------------------


async def test_callback_for_each_state_shows_the_session_without_a_token(api: Api, listen: Listen) -> None:
    receiver = await listen()
    session_id = await opened(api, callback_url=receiver.url, metadata={"order": 17})
    for event in (seen("alice", "PA_1", api.parts.clock()), left("alice", "PA_1", api.parts.clock())):
        await api.parts.store.update(session_id, event)
    await api.ask("DELETE", f"/sessions/{session_id}")
    await receiver.tries(4)
    assert receiver.events == ["session_ready", "session_active", "session_ready", "session_ended"]
    for said, state in zip(receiver.told, ("ready", "active", "ready", "ended"), strict=True):
        assert set(said) == {"event", "id", "createdAt", "session"}
        assert said["id"] == f"cb_{session_id[4:]}_{said['session']['revision']}"
        assert abs(int(said["createdAt"]) - api.parts.clock()) < 60
        shown = SessionView.model_validate_json(json.dumps(said["session"]))  # which has no field for a token
        assert (shown.session_id, shown.state, shown.metadata) == (session_id, state, {"order": 17})
    assert [said["session"]["reason"] for said in receiver.told] == [None, None, None, "closed"]
    assert {headers["Content-Type"] for headers in receiver.headers} == {"application/webhook+json"}


async def test_failed_session_sends_a_callback(start_api: StartApi, listen: Listen) -> None:
    api = await start_api(ready_timeout=2)
    await api.register("asr")
    receiver = await listen()
    status, _, _ = await api.open("asr", prefer="", callback_url=receiver.url)
    assert status == 504
    await receiver.tries(1)
    assert receiver.events == ["session_failed"]
    assert receiver.told[0]["session"]["reason"] == "ready_timeout"


async def test_refused_session_sends_no_callback(api: Api, listen: Listen) -> None:
    """The caller was given no session id to match a callback with."""
    api.livekit.foreign_rooms.add("taken")
    receiver = await listen()
    status, _, _ = await api.open(room_name="taken", callback_url=receiver.url)
    assert status == 409
    await opened(api, callback_url=receiver.url)
    await receiver.tries(1)
    assert receiver.events == ["session_ready"]
    assert len(await callbacks(api)) == 1


async def test_callback_is_signed_with_the_callers_own_key(start_api: StartApi, listen: Listen) -> None:
    """As documented: with the key's name and the SHA-256 of the key."""
    api = await start_api(**KEYS)
    shop = await listen()
    desk = await listen()
    await opened(api, SHOP, callback_url=shop.url)
    await opened(api, DESK, callback_url=desk.url)
    await shop.tries(1)
    await desk.tries(1)
    secrets = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in (("shop", SHOP), ("desk", DESK))}
    assert shop.believes("shop", secrets["shop"])
    assert desk.believes("desk", secrets["desk"])
    for name, secret in (("desk", secrets["desk"]), ("shop", secrets["desk"]), ("shop", SHOP), LIVEKITS):
        assert not shop.believes(name, secret)
    body, authorization = shop.posts[0]
    shop.posts = [(body.replace("session_ready", "session_ended"), authorization)]
    assert not shop.believes("shop", secrets["shop"])


async def test_callback_in_dev_mode_is_signed_with_the_livekit_key(api: Api, listen: Listen) -> None:
    receiver = await listen()
    await opened(api, callback_url=receiver.url)
    await receiver.tries(1)
    assert receiver.believes(*LIVEKITS)


# --- tries, order -----------------------------------------------------------------------------------


async def test_failed_callback_is_repeated_with_the_same_id_and_body(api: Api, listen: Listen) -> None:
    receiver = await listen(500, 503)
    session_id = await opened(api, callback_url=receiver.url)
    await api.ask("DELETE", f"/sessions/{session_id}")
    await receiver.tries(4)
    await finished(api, 2)
    assert receiver.events == ["session_ready"] * 3 + ["session_ended"]
    assert len({body for body, _ in receiver.posts}) == len({said["id"] for said in receiver.told}) == 2
    assert receiver.believes(*LIVEKITS)


async def test_slow_receiver_delays_neither_order_nor_session(api: Api, listen: Listen) -> None:
    """The session is over before the receiver takes the first event."""
    taking = asyncio.Event()

    async def slowly(_: dict[str, Any]) -> int:
        await taking.wait()
        return 200

    receiver = await listen(answer=slowly)
    session_id = await opened(api, callback_url=receiver.url)
    await api.parts.store.update(session_id, seen("alice", "PA_1", api.parts.clock()))
    status, _, session = await api.ask("DELETE", f"/sessions/{session_id}")
    assert (status, session["state"]) == (200, "ended")
    assert receiver.events in ([], ["session_ready"])
    taking.set()
    await receiver.tries(3)
    assert receiver.events == ["session_ready", "session_active", "session_ended"]


async def test_callbacks_do_not_follow_redirects(api: Api, listen: Listen) -> None:
    elsewhere = await listen()
    receiver = await listen(307, location=elsewhere.url)
    await opened(api, callback_url=receiver.url)
    await receiver.tries(2)
    await finished(api)
    assert elsewhere.posts == []


async def test_callbacks_report_every_session_end_at_shutdown(listen: Listen) -> None:
    settings = DevSettings(_env_file=None, server_port=free_port(), stop_ends_sessions=True)
    parts, agent = stand_ins(settings, livekit := LiveKit())
    receiver = await listen()
    api_url = f"http://127.0.0.1:{settings.server_port}"
    async with serving(parts), aiohttp.ClientSession(api_url) as http:
        api = Api(http, parts, livekit, agent, settings.server_port)
        for _ in range(20):
            await opened(api, callback_url=receiver.url)
    ended = [said["session"]["session_id"] for said in receiver.told if said["event"] == "session_ended"]
    assert len(set(ended)) == len(ended) == 20


# --- where to ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/", "http://10.0.0.7/", "http://127.0.0.1:{own}/",
     "http://2130706433/", "http://0/", "ftp://127.0.0.1/", "http://user:word@127.0.0.1/", "/sessions", "",
     "http://127.0.0.1/#x", "http://127.0.0.1/" + "x" * 2048, 17, ["http://127.0.0.1/"]],
)  # fmt: skip
async def test_forbidden_callback_url_is_422(api: Api, url: Any) -> None:
    """In dev mode only loopback is allowed, and never the server's own port."""
    url = url.replace("{own}", str(api.port)) if isinstance(url, str) else url
    status, _, problem = await api.open(callback_url=url)
    assert (status, [error["field"] for error in problem["errors"]]) == (422, ["callback_url"])
    assert list(api.parts.store.list()) == []


async def test_callback_host_name_is_checked_when_dialed(start_api: StartApi, listen: Listen) -> None:
    """The name may resolve to another address at each try."""
    api = await start_api(callback_networks="10.0.0.0/8")
    receiver = await listen()
    await opened(api, callback_url=receiver.url.replace("127.0.0.1", "localhost"))
    listed = await eventually("an error", lambda: callbacks(api), lambda listed: listed[0]["last_error"] is not None)
    assert "CALLBACK_NETWORKS" in listed[0]["last_error"]
    assert receiver.posts == []


async def test_session_without_callback_url_uses_its_callers(start_api: StartApi, listen: Listen) -> None:
    usual = await listen()
    own = await listen()
    api = await start_api(**KEYS, callback_urls=f"shop={usual.url}")
    by_default = await opened(api, SHOP)
    by_name = await opened(api, SHOP, callback_url=own.url)
    await opened(api, DESK)
    await usual.tries(1)
    await own.tries(1)
    assert await callbacks(api, DESK) == []
    assert [said["session"]["session_id"] for said in usual.told] == [by_default]
    assert [said["session"]["session_id"] for said in own.told] == [by_name]


def test_forbidden_url_in_callback_urls_stops_the_start() -> None:
    urls = "dev=http://127.0.0.1/,shop=http://169.254.169.254/a-word"
    settings = DevSettings(_env_file=None, callback_urls=urls)  # type: ignore[arg-type]
    with pytest.raises(BadSettings, match="CALLBACK_URLS: entry 2") as caught:
        create_app(stand_ins(settings, LiveKit())[0])
    assert "a-word" not in str(caught.value)


# --- what is shown ----------------------------------------------------------------------------------


async def test_callback_list_shows_the_outcome_of_each_delivery(api: Api, listen: Listen) -> None:
    async def by_name(said: dict[str, Any]) -> int:
        return {"taker": 204, "refuser": 410, "failer": 500}[said["session"]["user_identity"]]

    receiver = await listen(answer=by_name)
    ids = [await opened(api, callback_url=receiver.url, user_identity=name) for name in ("taker", "refuser", "failer")]
    await receiver.tries(3)
    listed = await finished(api, 2)
    assert [one["session_id"] for one in listed] == ids[::-1]
    pending, given_up, delivered = listed
    for one in listed:
        assert (one["event"], one["url"], one["host"]) == ("session_ready", receiver.url, f"127.0.0.1:{receiver.port}")
        assert (one["tries"] >= 1, one["last_error"]) == (True, None)
        assert one["created_at"].endswith("Z")
    assert (delivered["state"], delivered["last_status"], delivered["next_try_at"]) == ("delivered", 204, None)
    assert (given_up["state"], given_up["last_status"], given_up["next_try_at"]) == ("given_up", 410, None)
    assert (pending["state"], pending["last_status"], pending["finished_at"]) == ("pending", 500, None)
    assert delivered["finished_at"] >= delivered["created_at"]


async def test_callback_list_explains_a_failed_connection(api: Api) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/?word=a-word"
    await opened(api, callback_url=nobody)
    [one] = await eventually(
        "a failed try", lambda: callbacks(api), lambda listed: listed[0]["next_try_at"] is not None
    )
    assert (one["state"], one["last_status"]) == ("pending", None)
    assert one["last_error"].startswith("not connected: ")
    assert one["next_try_at"] > one["created_at"]
    assert "a-word" not in one["last_error"]


async def test_callback_list_has_the_last_hundred_newest_first(api: Api, listen: Listen) -> None:
    receiver = await listen()
    ids = [await opened(api, callback_url=receiver.url) for _ in range(110)]
    await receiver.tries(110)
    assert [one["session_id"] for one in await callbacks(api)] == ids[:9:-1]


async def test_callback_list_hides_other_callers_and_urls_from_admins(start_api: StartApi, listen: Listen) -> None:
    api = await start_api(**KEYS)
    receiver = await listen()
    session_id = await opened(api, SHOP, callback_url=receiver.url)
    await receiver.tries(1)
    [own] = await callbacks(api, SHOP)
    assert await callbacks(api, DESK) == []
    [others] = await callbacks(api, BOSS)
    assert (own["session_id"], own["url"]) == (session_id, receiver.url)
    assert (others["session_id"], others["url"], others["host"]) == (session_id, None, own["host"])
    assert "a-word-of-the-clients" not in str(others)


# --- the documentation ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_dev", [False, True])
async def test_documented_python_receiver_accepts_signed_callbacks_only(start_api: StartApi, is_dev: bool) -> None:
    """docs/callbacks.md, in Python: in a process of its own, as it stands."""
    api = await start_api(**({} if is_dev else KEYS))
    proof = {} if is_dev else {"Authorization": f"Bearer {SHOP}"}
    [code] = code_in("docs/callbacks.md", "python")
    port = free_port()
    mine = {} if is_dev else {"SESSION_MANAGER_KEY": SHOP, "SESSION_MANAGER_KEY_NAME": "shop"}
    command = (sys.executable, "-W", "ignore", "-c", code, *(["--dev"] if is_dev else []))
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | mine | {"PORT": str(port)}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{port}/sessions"

        async def answer_to_a_forgery() -> int | str:
            try:
                async with api.http.post(url, data=b"{}") as forged:
                    return forged.status
            except OSError as error:
                return str(error)

        assert (
            await eventually(
                "the documented receiver to listen",
                answer_to_a_forgery,
                lambda status: isinstance(status, int),
                every=0.05,
            )
            == 401
        )
        session_id = await opened(api, None if is_dev else SHOP, callback_url=url)
        async with waiting_for("the receiver to print both events", lambda: process):
            assert (await process.stdout.readline()).decode().split() == ["session_ready", session_id]
            await api.ask("DELETE", f"/sessions/{session_id}", headers=proof)
            assert (await process.stdout.readline()).decode().split() == ["session_ended", session_id]
    finally:
        process.kill()
        await process.wait()
