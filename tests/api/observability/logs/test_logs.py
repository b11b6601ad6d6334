"""The log lines of a request: each names its own session, service and request."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from http_api.observability import logs
from http_api.observability.logs import LogEntry
from http_api.observability.logs.access import PATH_MAX, log_abandoned
from manager_agent.session.session import EndReason
from tests.api.stand_ins import StartApi

pytestmark = pytest.mark.api


class Lines:
    """Everything logged from now on."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        logs.configure(dev=False, level="debug", secrets=[], stream=io.StringIO(), sinks=[self.entries.append])

    def of(self, event: str) -> list[dict[str, Any]]:
        return [json.loads(entry.line) for entry in self.entries if entry.fields["event"] == event]


async def test_log_lines_of_a_session_request_name_the_session(start_api: StartApi) -> None:
    """All requests share one connection, and each line names its own session."""
    api = await start_api()
    lines = Lines()
    await api.register("asr")
    _, headers, session = await api.open("asr", room_name="demo")
    await api.ask("GET", "//livez")
    await api.say_ready(session["session_id"], "asr")
    about = (session["session_id"], "demo")
    opened, asked = lines.of("session_opened"), lines.of("request")
    assert [(line["session_id"], line["room"]) for line in opened] == [about]
    assert opened[0]["request_id"] == headers["X-Request-Id"]
    by_path = {line["path"]: (line.get("session_id"), line.get("room"), line.get("service_id")) for line in asked}
    assert by_path["/api/v1/sessions"] == (*about, None)
    assert by_path[f"/api/v1/sessions/{session['session_id']}/ready"] == (*about, "asr")
    assert by_path["/livez"] == by_path["/api/v1/microservices/register"] == (None, None, None)
    (ready,) = lines.of("service_ready")
    assert (ready["session_id"], ready["service_id"], ready["attempt"]) == (about[0], "asr", 1)
    assert ready["evidence"] == "http"


async def test_abandoned_request_is_logged_with_its_session(start_api: StartApi) -> None:
    api = await start_api()
    lines = Lines()
    await api.register("asr")
    asking = asyncio.create_task(api.open("asr", room_name="demo", prefer="wait=60"))
    await api.has_waiting(1)
    [session] = api.parts.store.list()
    asking.cancel()
    over = await api.until(session.session_id, lambda latest: latest.over)
    assert over.end is not None
    assert over.end.reason is EndReason.CLIENT_GONE
    [line] = lines.of("request_abandoned")
    assert (line["method"], line["path"], line["level"]) == ("POST", "/api/v1/sessions", "info")
    assert (line["session_id"], line["room"]) == (session.session_id, "demo")
    assert line["request_id"] == lines.of("session_opened")[0]["request_id"]
    assert line["ms"] >= 0
    assert "/api/v1/sessions" not in {line["path"] for line in lines.of("request")}


async def test_path_of_an_abandoned_request_is_logged_truncated() -> None:
    lines, path = Lines(), "/" + "x" * 5_000
    log_abandoned(make_mocked_request("GET", path), 0.1)
    assert [line["path"] for line in lines.of("request_abandoned")] == [path[:PATH_MAX]]


async def test_log_lines_of_other_packages_have_the_same_form(start_api: StartApi) -> None:
    await start_api()
    lines = Lines()
    logging.getLogger("livekit.agents").warning("theirs", extra={"job": 7})
    logging.getLogger("aiohttp.server").error("theirs")
    assert [{"level", "logger", "timestamp", "event"} <= set(line) for line in lines.of("theirs")] == [True, True]
    assert lines.of("theirs")[0]["job"] == 7
