"""Where scripted sessions take place: services, a receiver of callbacks, and what was acknowledged to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from tests.callback_receiver import CallbackReceiver
from tests.chaos.happenings import Happenings
from tests.chaos.ledger import Ledger
from tests.chaos.room_watch import OutsideWatch
from tests.chaos.scripted_client import ApiCaller, ScriptedClient
from tests.chaos.scripted_service import ScriptedService
from tests.chaos.scripts_of_sessions import ALONE, PAIRED, SessionScript
from tests.wall_clock import MachineClock


class ScriptedSite:
    api: ApiCaller
    watch: OutsideWatch
    callbacks: CallbackReceiver
    services: list[ScriptedService]

    def __init__(self) -> None:
        self.happenings, self.ledger = Happenings(), Ledger()
        self.scripts: dict[int, SessionScript] = {}
        """Of all runs, by number."""

    def begin_run(self) -> None:
        """Forget what was acknowledged in the run before."""
        ledger = self.ledger
        ledger.violations.clear()
        ledger.sessions.clear()
        ledger.callbacks.clear()
        ledger.is_starved = ledger.rooms_are_lost = ledger.participants_are_cut_off = False
        ledger.clock = MachineClock()

    def client(self, script: SessionScript) -> ScriptedClient:
        self.scripts[script.number] = script
        return ScriptedClient(
            script, self.api, callback_url=self.callbacks.url, happenings=self.happenings, ledger=self.ledger
        )

    async def listed(self) -> list[dict[str, Any]]:
        """All sessions of which the API tells."""
        sessions: list[dict[str, Any]] = []
        cursor = ""
        while True:
            _, page = await self.api("GET", f"/sessions?limit=200{cursor}")
            sessions += page["sessions"]
            if page["next_cursor"] is None:
                return sessions
            cursor = f"&cursor={page['next_cursor']}"

    async def start_services(self, stack: AsyncExitStack, url: str) -> None:
        """Start them and the receiver of callbacks until the stack is closed. `url`: of the API that services call."""
        self.callbacks = await stack.enter_async_context(CallbackReceiver(answer=self._take_callback))
        self.services = [await stack.enter_async_context(service) for service in self._made_services()]
        for service in self.services:
            service.api_url = url

    async def register_services(self) -> None:
        for service in self.services:
            status, answer = await self.api("POST", "/microservices/register", service.registration)
            assert status in (200, 201), answer  # 200: it is known already

    def _made_services(self) -> list[ScriptedService]:
        kinds = [("BOT", means, service_id) for service_id, means in ALONE.items()]
        for type_name, (means, service_ids) in PAIRED.items():
            kinds += [(type_name, means, service_id) for service_id in service_ids]
        shared: dict[str, Any] = {"happenings": self.happenings, "ledger": self.ledger, "script_of": self._script_of}
        return [ScriptedService(service_id, type_name, means, **shared) for type_name, means, service_id in kinds]

    @property
    def _script_of(self) -> Callable[[Any], SessionScript]:
        return lambda metadata: self.scripts[metadata["script"]]

    async def _take_callback(self, event: dict[str, Any]) -> int:
        self.ledger.called_back(event)
        await self.happenings.happens("callback received")
        asyncio.get_running_loop().call_soon(
            lambda: asyncio.ensure_future(self.happenings.happens("callback answered"))
        )
        return 200
