"""A service's entry with the manager: made when it can be called, kept alive, removed when it stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import aiohttp
import structlog
from yarl import URL

from manager_agent.redacted_url import redacted_url
from service_kit.pauses import pauses

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=2)
BEAT_TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
REMOVE_TIMEOUT = aiohttp.ClientTimeout(total=2)
PAUSE_FIRST, PAUSE_MAX = 0.25, 5.0
BEATS_A_LEASE = 3
"""Two in a row may get lost."""
ANSWER_SHOWN = 500
STATIC = "static_service"
"""What the problem type ends with when the service is one of the manager's SERVICES_FILE."""
UNPROVED: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: " (set SESSION_MANAGER_API_KEY to a key that the manager knows)",
    HTTPStatus.FORBIDDEN: " (SESSION_MANAGER_API_KEY needs the scope `services`)",
}
WORTH_A_RETRY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})

log = structlog.get_logger()

Status = Callable[[], dict[str, Any]]
"""Gives what a heartbeat says: `load`, `draining`."""


class RegistrationRefused(Exception):
    """The manager does not want this entry, and will not want it in a minute either; it says why."""


class NotNow(Exception):
    """The manager can't be reached or can't serve."""


@asynccontextmanager
async def registered(
    manager_url: str, entry: dict[str, Any], status: Status, api_key: str | None = None
) -> AsyncIterator[Registration]:
    """While inside, the manager knows the service, also one that was started again meanwhile.

    Entering waits until the manager is up. Raises RegistrationRefused on entering, and nothing on leaving.
    """
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        registration = Registration(http, URL(manager_url) / "api/v1/microservices", entry, status)
        await registration.make()
        lease: float | None = entry.get("lease_seconds")
        keeping = asyncio.create_task(registration.keep(lease), name="heartbeats") if lease else None
        try:
            yield registration
        finally:
            if keeping is not None:
                keeping.cancel()
                await asyncio.wait([keeping])
            await registration.remove()


class Registration:
    """The entry of one instance: its service id at its endpoint."""

    def __init__(self, http: aiohttp.ClientSession, services: URL, entry: dict[str, Any], status: Status) -> None:
        self._http, self._services, self._entry, self._status = http, services, entry, status
        self._own = services / entry["service_id"]
        self._log = log.bind(service_id=entry["service_id"], manager=str(services.origin()))
        self._taken = False

    def __repr__(self) -> str:
        return f"<Registration {self._entry['service_id']} at {redacted_url(self._entry['endpoint'])}>"

    async def make(self) -> None:
        """Registers; returns once the manager has it. Raises RegistrationRefused."""
        for tries, pause in enumerate(pauses(PAUSE_FIRST, PAUSE_MAX), start=1):
            try:
                await self._register()
                break
            except NotNow as error:
                self._log.warning("not_registered_yet", why=str(error), tries=tries)
                await asyncio.sleep(pause)
        self._log.info("registered", endpoint=redacted_url(self._entry["endpoint"]), tries=tries)

    async def keep(self, lease: float) -> None:
        """Heartbeats without end, whatever becomes of the manager; returns when cancelled."""
        every = lease / BEATS_A_LEASE
        failing = pauses(PAUSE_FIRST, every)
        pause = every * random.uniform(2 / 3, 1)
        lost = False
        while True:
            await asyncio.sleep(pause)
            try:
                await self.beat()
            except (NotNow, RegistrationRefused) as error:
                if not lost:
                    self._log.warning("heartbeat_failed", why=str(error))
                pause, lost = next(failing), True
            else:
                if lost:
                    self._log.info("heartbeat_arrived_again")
                    failing = pauses(PAUSE_FIRST, every)
                pause, lost = every * random.uniform(2 / 3, 1), False

    async def beat(self) -> None:
        """One heartbeat. A manager that does not know us (any more) is registered with again, unless we drain.

        Another instance under our service id is left in peace: its owner wanted it there. Raises NotNow,
        RegistrationRefused.
        """
        said = self._status()
        here = (self._own / "heartbeat").with_query(endpoint=self._entry["endpoint"])
        status, why = await self._call("POST", here, said, BEAT_TIMEOUT)
        if status == HTTPStatus.NOT_FOUND and not said.get("draining"):
            await self._register()
            self._log.info("registered_again", endpoint=redacted_url(self._entry["endpoint"]))
        elif status == HTTPStatus.CONFLICT:
            if not self._taken:
                self._log.warning("another_instance_has_our_place", why=why)
        elif not _is_fine(status) and status != HTTPStatus.NOT_FOUND:
            raise NotNow(f"answered {_shown(status)}: {why}")
        self._taken = status == HTTPStatus.CONFLICT

    async def remove(self) -> None:
        """Takes our entry out, and nobody else's; the manager may be gone, or have forgotten us."""
        status = None
        with suppress(NotNow):
            mine = self._own.with_query(endpoint=self._entry["endpoint"])
            status, _ = await self._call("DELETE", mine, None, REMOVE_TIMEOUT)
        self._log.info("deregistered" if _is_fine(status) else "not_deregistered", status=status)

    async def _register(self) -> None:
        """One try. Raises NotNow, RegistrationRefused."""
        url = self._services / "register"
        status, said = await self._call("POST", url, self._entry, TIMEOUT)
        if _is_fine(status):
            return
        if status == HTTPStatus.CONFLICT and STATIC in said:
            return  # the manager's operator has written it down already: heartbeats are all that is wanted
        if status in WORTH_A_RETRY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NotNow(f"answered {status}")
        raise RegistrationRefused(f"{url} refused {self._entry['service_id']!r} with {_shown(status)}: {said}")

    async def _call(
        self, method: str, url: URL, body: dict[str, Any] | None, timeout: aiohttp.ClientTimeout
    ) -> tuple[int, str]:
        """The status and the beginning of the answer. Raises NotNow when there is none."""
        try:
            call = self._http.request(method, url, json=body, timeout=timeout, allow_redirects=False)
            async with call as answer:
                return answer.status, (await answer.content.read(ANSWER_SHOWN)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotNow(repr(error)) from error


def _is_fine(status: int | None) -> bool:
    return status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _shown(status: int) -> str:
    """With what mends it, where the API key is what is wrong."""
    return f"{status}{UNPROVED.get(status, '')}"
