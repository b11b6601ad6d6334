"""A machine fails: the LiveKit node that has a session's room, and the replica that acts for it."""

from __future__ import annotations

import pytest

from scripts.livekit_server import LiveKitServer
from tests.live.humans import Human
from tests.live.replicas.act_audit import acts_of, double_owners
from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica_site import ReplicaSite
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


async def node_of(site: ReplicaSite, room_name: str) -> LiveKitServer:
    """The node that has the room."""
    node_id = (await site.livekit_redis.command("HGET", "room_node_map", room_name)).decode()
    return next(node for node in site.nodes if f'"nodeID": "{node_id}"' in node.log.read_text(errors="replace"))


async def test_another_replica_moves_the_room_to_a_live_node(start_site: StartSite) -> None:
    """No participant comes back that would move it: the service had not joined yet."""
    site = await start_site(replicas=2)
    bot = await site.bot("asr")
    opened = await site.request(site.replicas[0], "asr")
    await bot.invited()
    session_id, room_name = opened["session_id"], opened["room_name"]
    owner = await site.owner(room_name)
    (await node_of(site, room_name)).kill()
    await owner.kill()
    site.replicas.remove(owner)
    [other] = site.replicas

    async def joined() -> int:
        return len(other.logged("manager_joined", session_id=session_id))

    await eventually("another manager in the room", joined)
    await bot.join()
    ready = await other.until(session_id, "ready")
    assert ready["room_name"] == room_name
    user = Human()
    await user.join(ready)
    await other.until(session_id, "active")
    assert len({invite.id for invite in bot.invites}) == 1
    assert double_owners(acts_of(site.ever)) == []
