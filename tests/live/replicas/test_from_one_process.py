"""From one process with a STATE_DIR to replicas on Redis: the sessions that are going on are recovered from their
rooms."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess
from tests.live.replicas.calls import ReplicaCall
from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica_site import LIMITS

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]


async def test_replicas_continue_the_sessions_of_a_single_process(start_site: StartSite, tmp_path: Path) -> None:
    site = await start_site(replicas=0)
    single = ManagerProcess(
        Site(site.nodes[0], site.nodes[0].port),
        port=None,
        log=tmp_path / "single.log",
        STATE_DIR=str(tmp_path / "state"),
        **LIMITS,
    )
    async with single:
        bot = await site.bot("asr", through=single)
        call = await ReplicaCall.of(site, bot, single)
        assert await single.end(signal.SIGTERM) == 0
    await site.start_replica()
    await site.start_replica()
    for replica in site.replicas:
        await call.goes_on(replica)
    await site.owner(call.room_name)
    await call.ends(site.replicas[1])
