"""A room that LiveKit has at two nodes, as after they took each other for dead: those at one do not see the others."""

from __future__ import annotations

import re
from typing import Any

import pytest

from scripts.livekit_server import LiveKitServer
from tests.live.bots import Bot
from tests.live.humans import Human
from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica import ReplicaProcess
from tests.live.replicas.replica_site import ReplicaSite
from tests.live.replicas.test_dead_machine import node_of
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

NODE_ID = re.compile(r'"nodeID": "(\w+)"')


def id_of(node: LiveKitServer) -> str:
    found = NODE_ID.search(node.log.read_text(errors="replace"))
    assert found is not None
    return found[1]


async def take_to_the_other_node(site: ReplicaSite, room_name: str) -> None:
    """Let all who join from now on come to the node that does not have the room yet."""
    has_it = await node_of(site, room_name)
    other = next(node for node in site.nodes if node is not has_it)
    await site.livekit_redis.command("HSET", "room_node_map", room_name, id_of(other))


async def managed(site: ReplicaSite, *bots: Bot) -> tuple[ReplicaProcess, dict[str, Any]]:
    """The only replica, and what it answers for a session that has its manager; the bots are invited."""
    [replica] = site.replicas
    opened = await site.request(replica, *(bot.service_id for bot in bots))
    for bot in bots:
        await bot.invited()
    await managers(replica, opened, 1)
    return replica, opened


async def managers(replica: ReplicaProcess, opened: dict[str, Any], count: int) -> None:
    """Return once so many have joined, one after the other."""

    async def joined() -> list[str]:
        return managers_of(replica, opened)

    await eventually(f"{count} managers in the room", joined, lambda identities: len(identities) >= count)


def managers_of(replica: ReplicaProcess, opened: dict[str, Any]) -> list[str]:
    """The identities of those that have joined, the latest last. LiveKit writes the metadata of the room at one of its
    nodes only, so what it says may be outdated."""
    return [line.fields["identity"] for line in replica.logged("manager_joined", session_id=opened["session_id"])]


async def test_the_next_manager_joins_where_the_service_is(start_site: StartSite) -> None:
    site = await start_site(replicas=1)
    bot = await site.bot("asr", ready_on="signal")
    replica, opened = await managed(site, bot)
    await take_to_the_other_node(site, opened["room_name"])
    await bot.join()
    assert not bot.room.remote_participants
    await managers(replica, opened, 2)
    await bot.say_by_rpc(to=lambda: managers_of(replica, opened)[-1])
    ready = await replica.until(opened["session_id"], "ready")
    user = Human()
    await user.join(ready)
    await replica.until(opened["session_id"], "active")
    assert bot.room.local_participant.identity in user.room.remote_participants
    assert len(bot.invites) == 1


async def test_a_service_that_stays_behind_is_replaced(start_site: StartSite) -> None:
    """It joined before LiveKit took the room to another node, and the user did later."""
    site = await start_site(replicas=1)
    early, late = await site.bot("early"), await site.bot("late", ready_on="signal")
    replica, opened = await managed(site, early, late)
    await early.join()
    await take_to_the_other_node(site, opened["room_name"])
    await late.join()
    await managers(replica, opened, 2)
    await early.invited(2)
    await early.join()
    await late.say_by_rpc(to=lambda: managers_of(replica, opened)[-1])
    ready = await replica.until(opened["session_id"], "ready")
    user = Human()
    await user.join(ready)
    services = {bot.room.local_participant.identity for bot in (early, late)}
    assert services <= user.room.remote_participants.keys()
    assert len(late.invites) == 1
