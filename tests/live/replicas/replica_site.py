"""A deployment as it is run by those with many rooms: livekit-server nodes on one Redis behind a load balancer, and
replicas of the session manager on a Redis behind another."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import aiohttp
from livekit import api

from manager_agent.session.session import OUR_IDENTITIES
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from tests.live.bots import Bot
from tests.live.conftest import KEY, SECRET, Site
from tests.live.manager_process import ManagerProcess
from tests.live.replicas.replica import ReplicaProcess
from tests.redis_server import RedisServer
from tests.tcp_front import TcpFront
from tests.waiting import eventually, waiting_for

NODES, REPLICAS = 2, 3
READY_POLL, READY_TIMEOUT = 0.2, 1.0
"""Seconds between two looks at a replica's readiness, and within which one must answer."""
AGENT_NAME = "lk.agent_name"
"""The attribute by which a manager tells its agent name, which has its replica's id."""
LIMITS = {"READY_TIMEOUT": "600", "USER_JOIN_TIMEOUT": "600", "SERVICE_JOIN_TIMEOUT": "500"}
"""Far from what a test takes."""


class NodesFront(TcpFront):
    """Gives each connection to any node that takes connections."""

    def __init__(self, nodes: list[LiveKitServer]) -> None:
        super().__init__()
        self._nodes = nodes

    async def target(self) -> int:
        for node in random.sample(self._nodes, k=len(self._nodes)):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", node.port)
                writer.close()
                return node.port
        raise ConnectionRefusedError


class ReplicasFront(TcpFront):
    """Gives each connection to the next replica that was ready at the latest look."""

    def __init__(self, replicas: list[ReplicaProcess]) -> None:
        super().__init__()
        self._replicas, self._ready = replicas, set[ReplicaProcess]()
        self._turns = itertools.count()

    async def look(self) -> None:
        """Look at the readiness of all replicas until cancelled."""
        while True:
            known = list(self._replicas)
            answers = await asyncio.gather(*map(_is_ready, known))
            self._ready = {one for one, is_ready in zip(known, answers, strict=True) if is_ready}
            await asyncio.sleep(READY_POLL)

    async def target(self) -> int:
        ready = [one for one in self._replicas if one in self._ready and one.is_running]
        candidates = ready or [one for one in self._replicas if one.is_running]
        if not candidates:
            raise ConnectionRefusedError
        return candidates[next(self._turns) % len(candidates)].port


async def _is_ready(replica: ReplicaProcess) -> bool:
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            return await replica.is_ready()
    except (TimeoutError, aiohttp.ClientError):
        return False


class ReplicaSite:
    """`folder`: for logs and files. `own_redis`: the replicas' Redis is another one than LiveKit's. `keeps`: it keeps
    what it has over a restart; LiveKit's always does, because LiveKit forgets its rooms with it. `module`: what the
    replicas run; `environment`: theirs."""

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = REPLICAS,
        own_redis: bool = False,
        keeps: bool = False,
        is_dev: bool = True,
        module: str = ManagerProcess.module,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder, self._count, self._environment = folder, replicas, environment
        self._has_own_redis, self._keeps, self._is_dev, self._module = own_redis, keeps, is_dev, module
        self.nodes: list[LiveKitServer] = []
        self.replicas: list[ReplicaProcess] = []
        """Those that a test has not taken out."""
        self.ever: list[ReplicaProcess] = []
        self._started = itertools.count()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        self.livekit_redis = self._stack.enter_context(RedisServer(self._folder, is_limited=True, persists=True))
        self.redis = self.livekit_redis
        if self._has_own_redis:
            self.redis = self._stack.enter_context(RedisServer(self._folder, is_limited=True, persists=self._keeps))
        front_port = free_port()
        binary, webhook_url = await asyncio.to_thread(find_or_build), f"http://127.0.0.1:{front_port}/livekit/webhook"
        for number in range(NODES):
            log = self._folder / f"livekit-{number}.log"
            address = f"127.0.0.1:{self.livekit_redis.port}"
            node = LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=log, redis=address)
            self.nodes.append(await enter(node))
        self.livekit_url = await enter(NodesFront(self.nodes).serving())
        self.livekit = await enter(api.LiveKitAPI(self.livekit_url, KEY, SECRET))
        front = ReplicasFront(self.replicas)
        self.url = await enter(front.serving(front_port))
        self.http = await enter(aiohttp.ClientSession(self.url))
        self._stack.push_async_callback(self._stop_replicas)
        await asyncio.gather(*(self.start_replica() for _ in range(self._count)))
        looking = asyncio.create_task(front.look(), name="readiness of replicas")
        self._stack.push_async_callback(_cancelled, looking)
        await eventually("all replicas to know each other", self._rolls, self._is_complete)

    @property
    def environment(self) -> dict[str, str]:
        """Of a replica."""
        return {
            "REDIS_URL": self.redis.url,
            "LIVEKIT_SERVER_URL": self.livekit_url.replace("http", "ws", 1),
            **LIMITS,
            **self._environment,
        }

    async def start_replica(self, **environment: str) -> ReplicaProcess:
        """Start another one, and return once it is ready."""
        name = f"replica-{next(self._started)}"
        shown = {"REPLICA_NAME": name}
        site = Site(self.nodes[0], free_port())
        replica = ReplicaProcess(site, name=name, folder=self._folder, **self.environment | shown | environment)
        replica.is_dev, replica.module = self._is_dev, self._module
        self.replicas.append(replica)
        self.ever.append(replica)
        await replica.start()
        return replica

    async def bot(
        self, service_id: str, type: str = "BOT", *, through: ManagerProcess | None = None, **registration: Any
    ) -> Bot:
        """A service that is registered, through any replica unless one is given."""
        bot = await self._stack.enter_async_context(Bot(service_id, type))
        path, body = "/api/v1/microservices/register", bot.registration(**registration)
        async with (through.http if through else self.http).post(path, json=body) as answer:
            assert answer.status == 201, await answer.text()
        return bot

    async def request(self, through: ManagerProcess, *required: Any, prefer: str = "respond-async", **more: Any) -> Any:
        """Create a session through this replica, and return the body of the answer, which must not be a problem."""
        body = {"user_identity": "alice", "required_services": list(required), **more}
        status, session = await through.ask("POST", "/sessions", body, Prefer=prefer)
        assert status in (201, 202), session
        return session

    # -- what LiveKit says -----------------------------------------------------------------------------------

    async def participants(self, room_name: str) -> list[api.ParticipantInfo]:
        async with waiting_for(f"LiveKit's list of participants of {room_name}", lambda: self):
            listing = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
        return list(listing.participants)

    async def managers(self, room_name: str) -> list[str]:
        """The ids of the replicas whose managers are in the room."""
        listed = await self.participants(room_name)
        managers = [one for one in listed if one.identity.startswith(f"{OUR_IDENTITIES}manager-")]
        active = [one for one in managers if one.state == api.ParticipantInfo.ACTIVE]
        return [one.attributes.get(AGENT_NAME, "").rpartition("/")[2] for one in active]

    async def owner(self, room_name: str) -> ReplicaProcess:
        """The replica whose manager is in the room, once there is exactly one."""

        async def managers() -> list[str]:
            return await self.managers(room_name)

        def is_one_of_ours(managers: list[str]) -> bool:
            return len(managers) == 1 and managers[0] in {one.id for one in self.replicas}

        [owner] = await eventually(f"one manager in {room_name}", managers, is_one_of_ours)
        return next(one for one in self.replicas if one.id == owner)

    # -- private ---------------------------------------------------------------------------------------------

    async def _rolls(self) -> list[set[str]]:
        healths = await asyncio.gather(*(one.health() for one in self.replicas))
        return [{one["id"] for one in health["replicas"]} for health in healths]

    def _is_complete(self, rolls: list[set[str]]) -> bool:
        wanted = {one.id for one in self.replicas}
        return all(roll >= wanted for roll in rolls)

    async def _stop_replicas(self) -> None:
        """All at once, as those who share a machine."""
        await asyncio.gather(*(one.__aexit__() for one in self.ever))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
