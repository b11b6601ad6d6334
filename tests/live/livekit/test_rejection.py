"""LiveKit answers 401: which of key and secret is wrong is known, and told from a server that is not there."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from manager_agent.livekit.calls import LiveKitRejects, LiveKitUnavailable
from manager_agent.livekit.server_api import Rooms
from scripts.free_ports import free_port
from tests.live.conftest import KEY, SECRET, Site

pytestmark = pytest.mark.live


def rooms_of(url: str, key: str = KEY, secret: str = SECRET) -> Rooms:
    return Rooms(url=url, services_url=url, api_key=key, api_secret=secret, agent_name="m", deployment="d")


@pytest.mark.parametrize(
    ("key", "secret", "why"),
    [
        (KEY, "another-secret", "LIVEKIT_API_SECRET is not the secret of LIVEKIT_API_KEY"),
        ("another-key", SECRET, "LIVEKIT_API_KEY is none of the keys"),
    ],
)
async def test_a_key_or_secret_that_livekit_rejects_is_named_once(
    silent_site: Site, key: str, secret: str, why: str
) -> None:
    rooms = rooms_of(silent_site.livekit.url, key, secret)
    await rooms.start()
    try:
        with capture_logs() as log:
            for _ in range(2):
                with pytest.raises(LiveKitRejects, match=why):
                    await rooms.list_rooms()
        assert [line["event"] for line in log] == ["livekit_rejects"]
        assert why in (rooms.rejection or "")
    finally:
        await rooms.aclose()


async def test_a_livekit_that_is_not_there_rejects_nothing() -> None:
    rooms = rooms_of(f"ws://127.0.0.1:{free_port()}")
    await rooms.start()
    try:
        with pytest.raises(LiveKitUnavailable, match="can't be reached") as raised:
            await rooms.list_rooms()
        assert not isinstance(raised.value, LiveKitRejects)
        assert rooms.rejection is None
    finally:
        await rooms.aclose()
