"""LiveKit nodes, replicas and their Redis servers (tests/live/replicas), with scripted services and clients."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from tests.chaos.cluster.checked_caller import CheckedCaller
from tests.chaos.room_watch import OutsideWatch
from tests.chaos.scripted_site import ScriptedSite
from tests.live.replicas.replica import ReplicaProcess
from tests.live.replicas.replica_site import REPLICAS, ReplicaSite

ENVIRONMENT = {"SERVICE_JOIN_TIMEOUT": "40", "READY_TIMEOUT": "240", "USER_JOIN_TIMEOUT": "600"}

OVERLAP = 5.0
"""Seconds for which LiveKit may list two managers of a room: one of a replica that is dead or frozen has to be removed
first. Which of them acts is known from the fencing numbers."""


class ClusterSite(ScriptedSite):
    """`folder`: for logs and files."""

    api: CheckedCaller

    def __init__(self, folder: Path, *, replicas: int = REPLICAS) -> None:
        super().__init__()
        self.deployed = ReplicaSite(folder, replicas=replicas, own_redis=True, keeps=True, environment=ENVIRONMENT)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        try:
            site = await enter(self.deployed)
            self.api = CheckedCaller(site.url, self.ledger)
            await self.start_services(self._stack, site.url)
            await self.register_services()
            self.watch = await enter(OutsideWatch(site.livekit, self.ledger, overlap=OVERLAP))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.happenings.let_go()
        await self._stack.aclose()

    @property
    def replicas(self) -> list[ReplicaProcess]:
        return self.deployed.replicas
