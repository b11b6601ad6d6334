"""Rolling restarts under load: each new session manager starts beside the old one, which is stopped once the new one is
ready. Clients follow Retry-After, and must not notice.

python -m tests.chaos.rolling_restarts [--restarts COUNT] [--no-state-dir] [--logs FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from aiohttp import web
from livekit import api, rtc

from manager_agent.messages import Invite
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from session_manager_client import ApiError, Client, Unreachable
from tests.chaos.ledger import Ledger
from tests.chaos.rolling_front import RollingFront
from tests.chaos.room_watch import OutsideWatch
from tests.live.bots import Bot
from tests.live.conftest import KEY, SECRET, Site
from tests.live.humans import Human
from tests.live.manager_process import ManagerProcess
from tests.live.room_watch import ManagersInRoom
from tests.waiting import waiting_for

RESTARTS = 10
VISITORS, CALLS = 3, 2
"""Clients that open one session after the other, and sessions whose users stay all the time."""
HELD = 0.5
"""Seconds from a visitor's token to the end of its session."""
CLIENT_PATIENCE = 60.0
"""Seconds for which a client follows Retry-After: enough for a starved machine."""
TWO_MANAGERS_MAX = NOTICED_MAX = 2.0
"""Seconds, as promised: for which a room may have two managers, and within which the older process notices that the
newer one acts."""
SERVICE = "asr"


class EagerBot(Bot):
    """Joins whenever it is invited."""

    def __init__(self) -> None:
        super().__init__(SERVICE, "ASR")
        self._joining: dict[str, asyncio.Task[None]] = {}

    async def __aexit__(self, *error: object) -> None:
        for joining in self._joining.values():
            joining.cancel()
        await asyncio.gather(*self._joining.values(), return_exceptions=True)
        await super().__aexit__(*error)

    async def _receive(self, request: web.Request) -> web.Response:
        answer = await super()._receive(request)
        for invite in self.invites:
            if invite.id not in self._joining:  # one that is sent again changes nothing
                self._joining[invite.id] = asyncio.create_task(self._try_to_join(invite))
        return answer

    async def _try_to_join(self, invite: Invite) -> None:
        with suppress(rtc.ConnectError, TimeoutError):  # the session is over
            await self.join(invite)


@dataclass(slots=True)
class RollingOutcome:
    restarts: int = 0
    sessions: int = 0
    """Opened by visitors, and ended by them."""
    failed: list[str] = field(default_factory=list)
    """Requests that failed for a client that follows Retry-After."""
    lost: list[str] = field(default_factory=list)
    """What happened to sessions without their clients."""
    two_managers: float = 0.0
    """The most seconds for which there were two managers in a room."""
    noticed: list[float] = field(default_factory=list)
    """Seconds from when the newer process acted until the older one noticed; negative: it had noticed before."""

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, however slow the machine is."""
        return [*self.failed, *self.lost]

    @property
    def late(self) -> list[str]:
        """What took longer than is promised."""
        managers = f"two managers in a room for {self.two_managers:.2f} s"
        late = [f"an older process noticed {seconds:.2f} s late" for seconds in self.noticed if seconds > NOTICED_MAX]
        return [*late, *([managers] if self.two_managers > TWO_MANAGERS_MAX else [])]

    def __str__(self) -> str:
        noticed = max(self.noticed, default=0.0)
        return (
            f"{self.restarts} rolling restarts, {self.sessions} sessions: {len(self.failed)} failed requests, "
            f"{len(self.lost)} lost sessions, two managers in a room for at most {self.two_managers:.2f} s, the older "
            f"process noticed at the latest {noticed:+.2f} s after the newer one acted"
        )


async def roll(folder: Path, restarts: int, *, has_state_dir: bool) -> RollingOutcome:
    """Restart so often. `folder`: for logs and files of the processes. They share a STATE_DIR with the registration of
    the service; without it the service is in their SERVICES_FILE, because registrations do not survive."""
    outcome = RollingOutcome()
    async with AsyncExitStack() as stack:
        enter, binary = stack.enter_async_context, await asyncio.to_thread(find_or_build)
        server = await enter(LiveKitServer(binary, port=free_port(), webhook_url=None, log=folder / "livekit.log"))
        livekit = await enter(api.LiveKitAPI(server.http_url, KEY, SECRET))
        front, bot = RollingFront(), await enter(EagerBot())
        services_file = folder / "services.yaml"
        services_file.write_text(json.dumps({"services": [bot.registration()]}))
        shared = {"STATE_DIR": str(folder / "state")} if has_state_dir else {"SERVICES_FILE": str(services_file)}
        rolling = Rolling(front, Site(server, free_port()), folder, shared)
        stack.push_async_callback(rolling.stop)
        await rolling.start()
        client = await enter(Client(await enter(front.serving()), max_wait=CLIENT_PATIENCE))
        if has_state_dir:
            await client.register(**bot.registration())
        calls = [await LastingCall.of(client, outcome) for _ in range(CALLS)]
        all_rooms = await enter(OutsideWatch(livekit, Ledger()))
        watches = [await enter(ManagersInRoom(livekit, call.room_name)) for call in calls]
        stop = asyncio.Event()
        visitors = [asyncio.create_task(visit(client, outcome, stop)) for _ in range(VISITORS)]
        for _ in range(restarts):
            before = outcome.sessions
            outcome.noticed.append(await rolling.restart())
            outcome.restarts += 1
            async with waiting_for("sessions of every visitor after the restart", lambda: outcome):
                while outcome.sessions < before + 2 * VISITORS:
                    await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*visitors)
        for call in calls:
            await call.is_going_on()
        outcome.two_managers = max(watch.longest for watch in watches)
        all_rooms.is_watching()
        outcome.lost += map(str, all_rooms.violations)
    return outcome


class Rolling:
    """The processes of the deployment, one after the other behind the front."""

    def __init__(self, front: RollingFront, site: Site, folder: Path, environment: Mapping[str, str]) -> None:
        self._front, self._site, self._folder, self._environment = front, site, folder, environment
        self._started = 0

    async def start(self) -> ManagerProcess:
        self._started += 1
        log = self._folder / f"manager-{self._started}.log"
        process = ManagerProcess(self._site, port=free_port(), log=log, **self._environment)
        self._front.processes.append(process)
        await process.start()
        return process

    async def restart(self) -> float:
        """Start another one, and stop the older one once it is ready and the older one has noticed. Returns the seconds
        from when the newer one acted until then."""
        older = self._front.processes[-1]
        newer = await self.start()
        noticed = await _logged(older, " superseded ") - await _logged(newer, " acting ")
        assert await older.end(signal.SIGTERM) == 0, older.tail
        self._front.processes.remove(older)
        await older.http.close()
        return noticed

    async def stop(self) -> None:
        for process in self._front.processes:
            await process.http.close()
            await process.end(signal.SIGTERM)


async def _logged(process: ManagerProcess, event: str) -> float:
    """When the process first logged this, in seconds since the epoch; waits for it."""
    async with waiting_for(f"{event} in the log", lambda: process.tail):
        while True:
            for line in process.log.read_text().splitlines():
                if event in line:
                    return datetime.fromisoformat(line.split()[0]).timestamp()
            await asyncio.sleep(0.05)


class LastingCall:
    """A session whose user stays."""

    def __init__(self, client: Client, session_id: str, room_name: str, outcome: RollingOutcome) -> None:
        self._client, self._id, self.room_name, self._outcome = client, session_id, room_name, outcome
        self._user, self._is_ending = Human(), False

    @classmethod
    async def of(cls, client: Client, outcome: RollingOutcome) -> LastingCall:
        ready = await client.until_ready((await client.create(required_services=[SERVICE])).session_id)
        call = cls(client, ready.session_id, ready.room_name, outcome)
        await call._user.join(ready.model_dump())
        await call._user.sees("active")
        call._user.room.on("disconnected", lambda reason: call._lose(f"a user was disconnected: {reason}"))
        call._user.room.on("participant_disconnected", lambda who: call._lose(f"{who.identity} left a user"))
        return call

    async def is_going_on(self) -> None:
        session = await self._client.get(self._id)
        if session.state != "active" or session.services[0].attempt != 1:
            self._lose(f"a call is {session.state}, attempt {session.services[0].attempt}")
        self._is_ending = True
        await self._client.close(self._id)
        await self._user.is_out()

    def _lose(self, what: str) -> None:
        if not self._is_ending:
            self._outcome.lost.append(what)


async def visit(client: Client, outcome: RollingOutcome, stop: asyncio.Event) -> None:
    """Open one session after the other, until it is time to stop."""
    while not stop.is_set():
        step = "create"
        try:
            opened = await client.create(required_services=[SERVICE])
            step = "until_ready"
            await client.until_ready(opened.session_id)
            await asyncio.sleep(HELD)
            step = "close"
            ended = await client.close(opened.session_id)
        except (ApiError, Unreachable) as error:
            outcome.failed.append(f"{step}: {error!r}")
            continue
        outcome.sessions += 1
        if ended.reason != "closed":
            outcome.lost.append(f"{opened.session_id} ended with {ended.reason}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    parser.add_argument("--no-state-dir", action="store_true", help="as with the Deployment in deploy/kubernetes")
    parser.add_argument("--logs", type=Path, help="an empty folder for the logs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.logs or Path(temporary)
        outcome = asyncio.run(roll(folder, asked.restarts, has_state_dir=not asked.no_state_dir))
    wrong = [*outcome.broken, *outcome.late]
    print(outcome, *wrong, sep="\n    ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
