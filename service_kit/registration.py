"""A service's registration with the manager: made when the service is listening, kept alive, removed on stop."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import aiohttp
import structlog
from yarl import URL

from manager_agent.proxy_rule import proxy_rule
from manager_agent.redacted_url import redacted_url
from manager_agent.resend import resend_when_closed
from manager_agent.unreachable import why_unreachable
from service_kit.pauses import pauses

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=2)
BEAT_TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
REMOVE_TIMEOUT = aiohttp.ClientTimeout(total=2)
PAUSE_FIRST, PAUSE_MAX = 0.25, 5.0
BEATS_A_LEASE = 3
"""Heartbeats per lease: two in a row may get lost."""
QUIET_TIME = 5.0
"""Seconds in which a manager that can't be reached yet is not worth a warning: it may be starting."""
ANSWER_SHOWN = 500
STATIC = "static_service"
"""The end of the problem type if the service is listed in the manager's SERVICES_FILE."""
UNPROVED: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: " (set SESSION_MANAGER_API_KEY to a key that the manager knows)",
    HTTPStatus.FORBIDDEN: " (SESSION_MANAGER_API_KEY needs the scope `services`, for a shared service also `admin`)",
}
WORTH_A_RETRY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})

log = structlog.get_logger()

Status = Callable[[], dict[str, Any]]
"""Returns the body of a heartbeat: `load`, `draining`."""


class RegistrationRefused(Exception):
    """The manager rejects this registration, and retrying would not help. The message says why."""


class NotNow(Exception):
    """The manager can't be reached or can't serve. Retrying may help."""


@asynccontextmanager
async def registered(
    manager_url: str, entry: dict[str, Any], status: Status, api_key: str | None = None
) -> AsyncIterator[Registration]:
    """Inside, the service is registered, also with a manager that restarts meanwhile.

    Entering waits until the manager is up and raises RegistrationRefused; leaving raises nothing.
    """
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    proxy, again = proxy_rule().of(manager_url), resend_when_closed(lambda _: True)  # all calls are idempotent
    async with aiohttp.ClientSession(headers=headers, proxy=proxy, middlewares=[again]) as http:
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
    """The registration of one instance: a service id at an endpoint."""

    def __init__(self, http: aiohttp.ClientSession, services: URL, entry: dict[str, Any], status: Status) -> None:
        self._http, self._services, self._entry, self._status = http, services, entry, status
        self._own = services / entry["service_id"]
        self._log = log.bind(service_id=entry["service_id"], manager=str(services.origin()))
        self._is_replaced = False

    def __repr__(self) -> str:
        return f"<Registration {self._entry['service_id']} at {redacted_url(self._entry['endpoint'])}>"

    async def make(self) -> None:
        """Register, retrying until the manager accepts. Raises RegistrationRefused."""
        clock = asyncio.get_running_loop().time
        started = clock()
        for tries, pause in enumerate(pauses(PAUSE_FIRST, PAUSE_MAX), start=1):
            try:
                await self._register()
                break
            except NotNow as error:
                write = self._log.debug if clock() - started < QUIET_TIME else self._log.warning
                write("not_registered_yet", why=str(error), tries=tries)
                await asyncio.sleep(pause)
        self._log.info("registered", endpoint=redacted_url(self._entry["endpoint"]), tries=tries)

    async def keep(self, lease: float) -> None:
        """Send heartbeats until cancelled, also while the manager is unreachable. `lease` in seconds."""
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
            except Exception as error:  # the next one may arrive; formatted here, as in session_jobs.py
                self._log.error("heartbeat_fault", exception="".join(traceback.format_exception(error)))
                pause, lost = next(failing), True
            else:
                if lost:
                    self._log.info("heartbeat_arrived_again")
                    failing = pauses(PAUSE_FIRST, every)
                pause, lost = every * random.uniform(2 / 3, 1), False

    async def beat(self) -> None:
        """Send one heartbeat. Register again if the manager does not know us, unless we are draining.

        If another instance has taken over our service id, leave it: that is its owner's decision. Raises NotNow,
        RegistrationRefused.
        """
        body = self._status()
        url = (self._own / "heartbeat").with_query(endpoint=self._entry["endpoint"])
        status, why = await self._call("POST", url, body, BEAT_TIMEOUT)
        if status == HTTPStatus.NOT_FOUND and not body.get("draining"):
            await self._register()
            self._log.info("registered_again", endpoint=redacted_url(self._entry["endpoint"]))
        elif status == HTTPStatus.CONFLICT:
            if not self._is_replaced:
                self._log.warning("another_instance_has_our_place", why=why)
        elif not _is_fine(status) and status != HTTPStatus.NOT_FOUND:
            raise NotNow(f"answered {_shown(status)}: {why}")
        self._is_replaced = status == HTTPStatus.CONFLICT

    async def remove(self) -> None:
        """Deregister this instance only. Never raises: the manager may be gone or may not know us."""
        status = None
        with suppress(NotNow):
            url = self._own.with_query(endpoint=self._entry["endpoint"])
            status, _ = await self._call("DELETE", url, None, REMOVE_TIMEOUT)
        self._log.info("deregistered" if _is_fine(status) else "not_deregistered", status=status)

    async def _register(self) -> None:
        """One try. Raises NotNow, RegistrationRefused."""
        url = self._services / "register"
        status, detail = await self._call("POST", url, self._entry, TIMEOUT)
        if _is_fine(status):
            return
        if status == HTTPStatus.CONFLICT and STATIC in detail:
            return  # already listed in the manager's SERVICES_FILE: only heartbeats are needed
        if status in WORTH_A_RETRY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NotNow(f"answered {status}")
        raise RegistrationRefused(f"{url} refused {self._entry['service_id']!r} with {_shown(status)}: {detail}")

    async def _call(
        self, method: str, url: URL, body: dict[str, Any] | None, timeout: aiohttp.ClientTimeout
    ) -> tuple[int, str]:
        """The status and the beginning of the body of the response. Raises NotNow if there is no response."""
        try:
            call = self._http.request(method, url, json=body, timeout=timeout, allow_redirects=False)
            async with call as answer:
                return answer.status, (await answer.content.read(ANSWER_SHOWN)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotNow(why_unreachable(error)) from None


def _is_fine(status: int | None) -> bool:
    return status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _shown(status: int) -> str:
    """The status, with a hint if the API key is the problem."""
    return f"{status}{UNPROVED.get(status, '')}"
