"""An ordinary livekit-agents agent, in a process of its own, becomes a service by its agent_name alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from manager_agent.session.events import Evidence
from tests.live.agent_worker import agent_worker
from tests.live.conftest import Site, StartStack
from tests.live.control.test_agent_workers import PATIENT
from tests.live.humans import Human
from tests.waiting import waiting_for

pytestmark = pytest.mark.live


async def test_ordinary_livekit_agent_becomes_a_service(start_stack: StartStack, site: Site, tmp_path: Path) -> None:
    stack = await start_stack(site, **PATIENT)
    registration = {"service_id": "echo-agent", "agent_name": "echo-agent", "metadata": {"type": "AGENT"}}
    async with agent_worker(site, tmp_path / "agent.log"):
        async with stack.http.post("/api/v1/microservices/register", json=registration) as answer:
            assert answer.status == 201, await answer.text()
        session = await stack.request("echo-agent", prefer="wait=150")
        assert (session["state"], session["services"][0]["ready_by"]) == ("ready", Evidence.JOIN)
        human = Human()
        await human.join(session)
        [echo] = human.room.remote_participants.values()
        names = {echo.attributes[key] for key in ("lk.agent.name", "lk.agent_name")}  # the SDK's and the server's
        assert names == {"echo-agent"}
        answers: asyncio.Queue[str] = asyncio.Queue()

        async def read(text: object) -> None:
            answers.put_nowait(await text.read_all())  # type: ignore[attr-defined]

        reading: list[asyncio.Task[None]] = []
        human.room.register_text_stream_handler(
            "lk.chat", lambda text, _: reading.append(asyncio.create_task(read(text)))
        )
        await human.room.local_participant.send_text("hello", topic="lk.chat")
        async with waiting_for("the agent's answer", lambda: reading):
            assert await answers.get() == "hello"
        await human.leave()
