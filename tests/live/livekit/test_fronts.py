"""LiveKit below a path, and far away: the manager, the kit, users and the doctor get there all the same."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from livekit import rtc

from http_api.doctor.finding import CheckVerdict
from http_api.doctor.livekit import LiveKitServerCheck
from http_api.settings.settings import DevSettings
from manager_agent.livekit.room_connection import connect, disconnect
from manager_agent.livekit.server_api import Rooms
from service_kit import Service, ServiceSettings, SessionJob
from tests.live.bots import CONNECT_TIMEOUT
from tests.live.conftest import KEY, SECRET, Site, StartStack
from tests.livekit_fronts import PATH, below_a_path, slow_tls

pytestmark = pytest.mark.live


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_livekit_below_a_path_serves_manager_kit_users_and_doctor(
    start_stack: StartStack, silent_site: Site, end: str
) -> None:
    async with below_a_path(silent_site.livekit.url) as front:
        url = front + PATH + end
        stack = await start_stack(silent_site, LIVEKIT_SERVER_URL=url)
        service = Service("kit", type="BOT")

        @service.on_invite
        async def work(job: SessionJob) -> None:
            await job.join()
            await job.say_ready()
            await job.ended()

        async with service.serving(ServiceSettings(session_manager_url=stack.url)):
            session = await stack.request("kit", prefer="wait=20")
            assert session["state"] == "ready"
            assert session["server_url"] == front.replace("http", "ws") + PATH
            user = rtc.Room()
            await connect(user, session["server_url"], session["access_token"], rtc.RoomOptions(), CONNECT_TIMEOUT)
            await stack.until(session["session_id"], lambda latest: latest.manager.presence.here)
            await stack.until(session["session_id"], lambda latest: latest.state == "active")
            await disconnect(user)
        settings = DevSettings(_env_file=None, LIVEKIT_SERVER_URL=url)  # type: ignore[call-arg]
        async with LiveKitServerCheck(settings) as check:
            findings = [await check.reach(), await check.keys(), await check.auto_create()]
            async with check.room() as room:
                findings += await check.join(room)
        assert not [finding for finding in findings if finding.verdict is CheckVerdict.WRONG], findings


async def test_a_livekit_that_takes_seconds_for_tls_is_available(
    silent_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with slow_tls(silent_site.livekit.port, 2.0, tmp_path) as (url, trusting):
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
        rooms = Rooms(url=url, services_url=url, api_key=KEY, api_secret=SECRET, agent_name="m", deployment="d")
        await rooms.start()
        try:
            await rooms.list_rooms()
        finally:
            await rooms.aclose()
