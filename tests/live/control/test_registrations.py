"""A session manager that is killed leaves its registrations in STATE_DIR, and the next one knows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess

pytestmark = pytest.mark.live


async def test_acknowledged_registrations_survive_the_kill_of_the_process(silent_site: Site, tmp_path: Path) -> None:
    """It is killed as soon as the last of concurrent requests is answered; removals count too."""
    log, state_dir = tmp_path / "manager.log", str(tmp_path / "state")
    async with ManagerProcess(silent_site, log=log, STATE_DIR=state_dir) as manager:
        bodies = [
            {"service_id": f"asr-{n}", "endpoint": f"http://127.0.0.1:{n + 1}/", "metadata": {"type": "ASR"}}
            for n in range(20)
        ]
        answers = await asyncio.gather(*(manager.ask("POST", "/microservices/register", body) for body in bodies))
        status, _ = await manager.ask("DELETE", "/microservices/asr-7")
        await manager.kill()
        assert (status, {answered for answered, _ in answers}) == (200, {201})
        await manager.start()
        _, listed = await manager.ask("GET", "/microservices")
    known = {service["service_id"]: service["endpoint"] for service in listed["services"]}
    assert known == {body["service_id"]: body["endpoint"] for body in bodies if body["service_id"] != "asr-7"}
