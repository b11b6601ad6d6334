"""What is done to the parts of a cluster while sessions come and go. A new fault is one more entry here."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any

from tests.chaos.cluster.cluster_site import ClusterSite

FROZEN = 30.0
"""Seconds: several leases, and longer than LiveKit waits for a participant that is silent."""
DOWN = 3.0
"""Seconds from the end of a process to its next start."""
NODE_DOWN = 12.0
"""Seconds: LiveKit takes a node for dead after 5."""

ClusterFault = Callable[[ClusterSite, Random], Coroutine[Any, Any, None]]
"""Returns once everything runs again."""


async def kill_replica(site: ClusterSite, random: Random) -> None:
    replica = random.choice(site.replicas)
    await replica.kill()
    await asyncio.sleep(DOWN)
    await replica.start()


async def freeze_replica(site: ClusterSite, random: Random) -> None:
    replica = random.choice(site.replicas)
    replica.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN)
    finally:
        replica.send(signal.SIGCONT)
    await replica.until_ready()


async def restart_redis(site: ClusterSite, _: Random) -> None:
    """That of the replicas and that of LiveKit; both keep what they have."""
    servers = site.deployed.redis, site.deployed.livekit_redis
    for server in servers:
        server.stop()
    await asyncio.sleep(DOWN)
    for server in servers:
        server.start()
    await _all_ready(site)


async def empty_redis(site: ClusterSite, _: Random) -> None:
    """That of the replicas comes back without anything. Registrations are gone with it."""
    await site.deployed.redis.flush()
    site.deployed.redis.restart()
    await _all_ready(site)
    await site.register_services()


async def kill_livekit_node(site: ClusterSite, random: Random) -> None:
    """Its rooms go on at the other node, and those who were in them come back by themselves."""
    site.ledger.participants_are_cut_off = True
    node = random.choice(site.deployed.nodes)
    node.kill()
    await asyncio.sleep(NODE_DOWN)
    await node.start()
    await _all_ready(site)


async def kill_machine(site: ClusterSite, random: Random) -> None:
    """A LiveKit node and a replica at once."""
    site.ledger.participants_are_cut_off = True
    node, replica = random.choice(site.deployed.nodes), random.choice(site.replicas)
    node.kill()
    await replica.kill()
    await asyncio.sleep(NODE_DOWN)
    await node.start()
    await replica.start()
    await _all_ready(site)


async def roll_replicas(site: ClusterSite, _: Random) -> None:
    """Each new one is started before an old one is stopped, as by a rolling update."""
    for replica in list(site.replicas):
        await site.deployed.start_replica()
        code = await replica.end(signal.SIGTERM)
        if code != 0:
            site.ledger.breaks("replicas stop in order", f"{replica.name} ended with {code}")
        site.replicas.remove(replica)


async def _all_ready(site: ClusterSite) -> None:
    await asyncio.gather(*(replica.until_ready() for replica in site.replicas))


CLUSTER_FAULTS: Mapping[str, ClusterFault] = {
    "kill -9 a replica": kill_replica,
    "freeze a replica": freeze_replica,
    "restart Redis": restart_redis,
    "restart Redis empty": empty_redis,
    "kill a LiveKit node": kill_livekit_node,
    "kill a machine": kill_machine,
    "roll all replicas": roll_replicas,
}
