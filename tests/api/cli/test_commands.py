"""`session-manager` against the real API: what its commands print, and their exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console

from http_api.access.api_keys import KeyEntry, digest_of, new_key
from http_api.cli.exits import ExitCode
from http_api.cli.progress import Progress
from http_api.settings.settings import Settings
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from manager_agent.session.events import Chosen, ReadyOn, Refusal
from scripts.free_ports import free_port
from scripts.repository import ROOT
from session_manager_client import Client
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import still_session

pytestmark = pytest.mark.api

COMMAND = (sys.executable, "-c", "from http_api.cli import main; main()")
FINE, NO, UNREACHABLE, INTERRUPTED = ExitCode.OK, ExitCode.FAILED, ExitCode.UNREACHABLE, ExitCode.INTERRUPTED
TALKING = [["services"], ["sessions"], ["create"], ["watch"], ["watch", "ses_1"], ["timeline", "ses_1"]]


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


@asynccontextmanager
async def started(url: str, *arguments: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The running command; killed at the end if it still runs."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments), cwd=ROOT, env=os.environ | {"SESSION_MANAGER_URL": url} | env, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def done(process: asyncio.subprocess.Process) -> Done:
    out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode(), err.decode()
    return Done(process.returncode, out.decode(), err.decode())


async def run(api: Api, *arguments: str, **env: str) -> Done:
    async with started(f"http://127.0.0.1:{api.port}", *arguments, **env) as process:
        return await done(process)


async def line_with(stream: asyncio.StreamReader | None, words: str) -> str:
    assert stream is not None
    while line := (await stream.readline()).decode():
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}")


@pytest.mark.parametrize("command", TALKING, ids=" ".join)
async def test_unreachable_server_has_its_own_exit_code(command: list[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with started(url, *command, "--json") as process:
        said = await done(process)
    assert (said.code, said.err) == (UNREACHABLE, "")
    assert url in said.document["error"]["message"]


async def test_services_command_lists_state_load_and_capacity(api: Api) -> None:
    body = {
        "service_id": "asr-service",
        "endpoint": "http://127.0.0.1:1/[red]",
        "metadata": {"type": "ASR"},
        "capacity": 7,
        "lease_seconds": 3600,
    }
    await api.ask("POST", "/microservices/register", body)
    await api.ask("POST", "/microservices/asr-service/heartbeat", {"load": 0.25})
    said = await run(api, "services")
    [_, row] = said.out.splitlines()
    assert row.split() == ["asr-service", "ASR", "healthy", "25%", "0", "7", "60", "min", "http://127.0.0.1:1/[red]"]
    [service] = (await run(api, "services", "--json")).document["services"]
    assert (service["service_id"], service["load"]) == ("asr-service", 0.25)


async def test_sessions_command_filters_by_state_and_service(api: Api) -> None:
    await api.register("asr-service")
    waiting = (await api.open("asr-service", ready_timeout=600))[2]
    ready = (await api.open(user_identity="bob"))[2]
    everything = await run(api, "sessions")
    assert [line.split()[0] for line in everything.out.splitlines()[1:]] == [ready["session_id"], waiting["session_id"]]
    for options, wanted in (
        (["--state", "waiting"], [waiting]),
        (["--state", "waiting", "--state", "ready"], [ready, waiting]),
        (["--service", "asr-service"], [waiting]),
        (["--limit", "1"], [ready]),
    ):
        found = (await run(api, "sessions", "--json", *options)).document["sessions"]
        assert [session["session_id"] for session in found] == [session["session_id"] for session in wanted]
    refused = await run(api, "sessions", "--state", "sleeping")
    assert (refused.code, "state" in refused.err) == (NO, True)


async def test_create_command_shows_each_step_and_prints_only_the_token(api: Api) -> None:
    await api.register("asr-service")
    async with started(
        f"http://127.0.0.1:{api.port}", "create", "--service", "asr-service", "--identity", "bob"
    ) as process:
        assert "asr-service  invited" in await line_with(process.stderr, "invited")
        [session] = api.parts.store.list()
        await api.say_ready(session.session_id, "asr-service")
        said = await done(process)
    assert said.code == FINE
    assert "asr-service  ready" in said.err
    assert said.err.endswith("ready: the token\n")
    [token] = said.out.splitlines()
    assert token.startswith("eyJ")
    assert (session.user.identity, api.parts.store.get(session.session_id).over) == ("bob", False)


async def test_create_command_can_print_the_session_and_close_it(api: Api) -> None:
    said = await run(api, "create", "--json", "--close", "--name", "Bob", "--room", "lobby", "--timeout", "5")
    session = said.document
    assert (said.code, said.err) == (FINE, "")
    assert (session["user_name"], session["room_name"], session["state"]) == ("Bob", "lobby", "ready")
    assert session["access_token"]
    assert api.parts.store.get(session["session_id"]).over


async def test_create_command_names_the_services_that_failed_the_session(start_api: StartApi) -> None:
    api = await start_api(ready_timeout=2)
    await api.register("asr-service")
    said = await run(api, "create", "--service", "asr-service")
    assert (said.code, said.out) == (NO, "")
    assert "asr-service: never_joined" in said.err
    refused = await run(api, "create", "--service", "nobody", "--json")
    assert (refused.code, refused.document["error"]["slug"]) == (NO, "service_not_available")


async def test_create_command_says_that_a_session_without_services_has_an_empty_room(api: Api) -> None:
    said = await run(api, "create")
    assert (said.code, "requires no services, so the user's room is empty" in said.err) == (FINE, True)
    await api.register("asr-service")
    async with started(f"http://127.0.0.1:{api.port}", "create", "--service", "asr-service") as process:
        assert "asr-service" in await line_with(process.stderr, "")


async def test_create_command_shows_attempts_that_failed(api: Api) -> None:
    async with still_session(api) as still:
        other = Chosen("asr-2", "ASR", "http://127.0.0.1:2/", None, ReadyOn.JOIN)
        now = api.parts.clock()
        failed = ev.ServiceSignalled(now + 1, "sm-asr-1", ev.Signal.FAILED, ev.Evidence.MESSAGE, "the model is [red]")
        started_again = ev.InviteStarted(now + 2, 0, 2, 1, "sm-asr-2", "inv_2", instead=other)
        await still.happens(ev.InviteAccepted(now + 1, 0, 1, 1), failed, started_again)
        console = Console(record=True, width=200)
        progress = Progress(console)
        async with Client(f"http://127.0.0.1:{api.port}") as client:
            session = await client.get(still.session_id)
            assert progress.lacks_attempts(session)
            for _ in range(2):  # shown once
                progress.show_failed(session, await client.timeline(still.session_id))
        assert not progress.lacks_attempts(session)
    [line] = console.export_text().splitlines()
    assert line.split(maxsplit=3)[2:] == ["asr-service", "attempt 1 failed: reported_failure: the model is [red]"]


async def test_ctrl_c_before_a_session_is_ready_ends_the_session(api: Api) -> None:
    await api.register("asr-service")
    async with started(f"http://127.0.0.1:{api.port}", "create", "--service", "asr-service") as process:
        await line_with(process.stderr, "invited")
        process.send_signal(signal.SIGINT)
        said = await done(process)
    assert (said.code, said.out) == (INTERRUPTED, "")
    [session] = api.parts.store.list()
    assert session.over


async def test_watch_command_follows_one_session_to_its_end(api: Api) -> None:
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    async with started(f"http://127.0.0.1:{api.port}", "watch", session_id, "--json") as process:
        assert json.loads(await line_with(process.stdout, session_id))["state"] == "waiting"
        await api.say_ready(session_id, "asr-service")
        await line_with(process.stdout, '"state": "ready"')
        await api.ask("DELETE", f"/sessions/{session_id}")
        said = await done(process)
    assert said.code == FINE
    assert json.loads(said.out.splitlines()[-1])["state"] == "ended"


async def test_watch_command_exits_with_failure_when_the_session_fails(start_api: StartApi) -> None:
    api = await start_api(ready_timeout=2)
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    said = await run(api, "watch", session_id)
    assert said.code == NO
    assert said.out.splitlines()[-1].startswith(f"{session_id} alice failed ready_timeout asr-service=")
    assert (await run(api, "watch", "ses_0")).code == NO


@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1"}])
async def test_watch_command_follows_all_sessions_until_ctrl_c(api: Api, env: dict[str, str]) -> None:
    """In a pipe the output is line by line, even with FORCE_COLOR."""
    first = (await api.open())[2]["session_id"]
    async with started(f"http://127.0.0.1:{api.port}", "watch", **env) as process:
        assert (await line_with(process.stdout, f"{first} alice ready")).startswith(first)
        second = (await api.open(user_identity="bob"))[2]["session_id"]
        await line_with(process.stdout, f"{second} bob ready")
        await api.ask("DELETE", f"/sessions/{first}")
        await line_with(process.stdout, f"{first} alice ended closed")
        process.send_signal(signal.SIGINT)
        assert (await done(process)).code == INTERRUPTED


async def test_watch_command_reports_a_livekit_outage_on_stderr(api: Api) -> None:
    api.agent.is_registered = False
    session_id = (await api.open())[2]["session_id"]
    async with started(f"http://127.0.0.1:{api.port}", "watch") as process:
        assert (await line_with(process.stderr, "livekit has been unavailable since")).startswith("session-manager: ")
        await line_with(process.stdout, session_id)
        process.send_signal(signal.SIGINT)
        assert (await done(process)).code == INTERRUPTED


async def test_timeline_command_shows_every_attempt_and_prints_the_apis_json(api: Api) -> None:
    async with still_session(api, metadata=JsonObject.of({"a": "[red]"})) as still:
        other = Chosen("asr-2", "ASR", "http://127.0.0.1:2/", None, ReadyOn.JOIN)
        now = api.parts.clock()
        await still.happens(
            ev.InviteRefused(now + 1, 0, 1, 1, Refusal.DECLINED),
            ev.InviteStarted(now + 1, 0, 2, 1, "sm-asr-2", "inv_2", instead=other),
            ev.InviteAccepted(now + 2, 0, 2, 1),
        )
        said = await run(api, "timeline", still.session_id)
        first, second = said.out.splitlines()[-2:]
        assert (said.code, said.err) == (FINE, "")
        assert said.out.startswith(f"{still.session_id} in room {still.now.room_name} is waiting\n")
        assert "manager_joined" in said.out
        assert first.split()[:3] == ["asr-service", "1", "invited"]
        assert first.rstrip().endswith("declined, replaced")
        assert second.split()[:3] == ["asr-2", "2", "accepted"]
        assert "expected to join" in second
        told = (await run(api, "timeline", still.session_id, "--json")).document
        asked = (await api.ask("GET", f"{still.path}/timeline"))[2]
        unlike = {"now": "", "log": []}  # it was asked for once more meanwhile
        assert told | unlike == asked | unlike
        assert told["log"] == asked["log"][: len(told["log"])] != []
    refused = await run(api, "timeline", "ses_0")
    assert (refused.code, "unknown_session" in refused.err) == (NO, True)


async def test_api_key_is_read_from_the_environment_and_never_shown(start_api: StartApi) -> None:
    key = new_key()
    entry = KeyEntry("bob", digest_of(key))
    secret = SecretStr("a-secret-of-at-least-thirty-two-characters")
    api = await start_api(
        Settings, livekit_api_key="key", livekit_api_secret=secret, api_keys=(entry,), server_host="127.0.0.1"
    )
    without = await run(api, "sessions")
    assert (without.code, "unauthorized" in without.err) == (NO, True)
    assert (await run(api, "sessions", SESSION_MANAGER_API_KEY=key)).code == FINE
    for said in (
        await run(api, "create", "--json", "--api-key-env", "OTHER", OTHER=key),
        await run(api, "create", "--service", "nobody", "--api-key-env", "OTHER", OTHER=key),
    ):
        assert key not in said.out + said.err
    assert [session.owner for session in api.parts.store.list()] == ["bob"]


async def test_a_missing_api_key_is_named(start_api: StartApi) -> None:
    secret = SecretStr("a-secret-of-at-least-thirty-two-characters")
    api = await start_api(Settings, livekit_api_key="key", livekit_api_secret=secret, server_host="127.0.0.1")
    assert "Set SESSION_MANAGER_API_KEY" in (await run(api, "sessions")).err
    unset = await run(api, "sessions", "--api-key-env", "OTHER_KEY")
    assert (unset.code, "the environment variable OTHER_KEY is not set" in unset.err) == (ExitCode.USAGE, True)


async def test_an_https_url_of_a_plain_port_says_so(api: Api) -> None:
    async with started(f"https://127.0.0.1:{api.port}", "sessions") as process:
        said = await done(process)
    assert (said.code, "it may serve http, not https" in said.err) == (UNREACHABLE, True)


@pytest.mark.parametrize(("variable", "name"), [("SESSION_MANAGER_API_KEY",) * 2, ("SESSION_MANAGER_URL", "--url")])
async def test_value_in_quotes_is_a_usage_error_that_says_so(api: Api, variable: str, name: str) -> None:
    """`docker --env-file` leaves them."""
    said = await run(api, "sessions", **{variable: '"a-value-in-quotes"'})
    assert (said.code, f"{name}: is in quotes" in said.err) == (ExitCode.USAGE, True)
    assert "a-value" not in said.out + said.err
