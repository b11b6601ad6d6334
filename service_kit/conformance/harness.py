"""The manager as the service sees it over HTTP: signed posts to it, and the API that it may call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
from livekit import api

from manager_agent.messages import Invite, SessionEndedMessage
from manager_agent.outbound.signing import CONTENT_TYPE, LIFETIME, signature
from manager_agent.proxy_rule import BadProxy, proxy_rule
from manager_agent.unreachable import why_unreachable
from service_kit.conformance.fake_api import FakeApi, HttpReady
from service_kit.conformance.options import Options
from service_kit.conformance.report import Broken, Unable

LIVEKIT_TIMEOUT = 5.0
CALL_TIMEOUT = aiohttp.ClientTimeout(total=10)
DECLINED = frozenset({HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Harness:
    """The manager's side of the check, shared by all rules."""

    def __init__(self, options: Options, http: aiohttp.ClientSession, livekit: api.LiveKitAPI) -> None:
        self.options, self.livekit = options, livekit
        self._http = http
        self.http_ready: HttpReady | None = None
        """Decides about `POST .../ready`; set by the running scenario."""
        self._slowest_join = 0.0

    def __repr__(self) -> str:
        return f"<Harness for {self.options.endpoint}>"

    @property
    def watch(self) -> float:
        """Seconds to watch for forbidden behavior: at least twice the slowest join."""
        return max(self.options.timeouts.watch, 2 * self._slowest_join)

    def joined_after(self, seconds: float) -> None:
        self._slowest_join = max(self._slowest_join, seconds)

    def hears_ready(self, session_id: str, token: str) -> bool:
        """Whether to acknowledge this `POST .../ready`: never outside a scenario."""
        return self.http_ready is not None and self.http_ready(session_id, token)

    async def post(self, message: Invite | SessionEndedMessage | bytes, authorization: str | None = None) -> int:
        """Post once and return the status of the response. `authorization`: instead of the manager's signature; empty:
        no header. Raises Broken if there is no response."""
        body = message if isinstance(message, bytes) else message.model_dump_json().encode()
        headers = {"Content-Type": CONTENT_TYPE, "Authorization": authorization or self.signature(body)}
        if authorization == "":
            del headers["Authorization"]
        limit = self.options.timeouts.answer
        try:
            async with asyncio.timeout(limit):
                post = self._http.post(self.options.endpoint, data=body, headers=headers, allow_redirects=False)
                async with post as answer:
                    return answer.status
        except TimeoutError:
            raise Broken(f"did not answer within {limit:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise Broken(f"can't be reached: {error.os_error}") from None
        except aiohttp.ClientError as error:
            raise Broken(f"closed the connection without a response ({type(error).__name__})") from None

    def signature(self, body: bytes, *, secret: str | None = None, lifetime: float = LIFETIME) -> str:
        """Sign `body` as the manager does, or with another secret or lifetime in seconds."""
        return signature(body, self.options.key, secret or self.options.secret, lifetime=lifetime)


@asynccontextmanager
async def harness_for(options: Options) -> AsyncIterator[Harness]:
    """A harness, after LiveKit has answered. Raises Unable."""
    try:
        proxy = proxy_rule().of(options.livekit)
    except BadProxy as error:
        raise Unable(str(error)) from None
    async with (
        aiohttp.ClientSession(trust_env=False) as http,
        aiohttp.ClientSession(proxy=proxy, timeout=CALL_TIMEOUT) as to_livekit,
    ):
        livekit = api.LiveKitAPI(options.livekit, options.livekit_key, options.livekit_secret, session=to_livekit)
        try:
            async with asyncio.timeout(LIVEKIT_TIMEOUT):
                await livekit.room.list_rooms(api.ListRoomsRequest(names=["-"]))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unable(f"LiveKit at {options.livekit} can't be used: {why_unreachable(error)}") from None
        except api.ServerError as error:
            raise Unable(f"LiveKit at {options.livekit} can't be used: {error!r}") from None
        harness = Harness(options, http, livekit)
        async with listening(options, harness):
            yield harness


@asynccontextmanager
async def listening(options: Options, harness: Harness) -> AsyncIterator[None]:
    """Inside, serve the manager's API on the port of the options, if there is one. Raises Unable."""
    if options.listen is None:
        yield
        return
    fake_api = FakeApi(api_key=options.api_key, ready=harness.hears_ready)
    try:
        await fake_api.start(options.listen, host=None)
    except OSError as error:
        raise Unable(f"can't listen on {options.listen}: {error.strerror}") from None
    try:
        yield
    finally:
        await fake_api.stop()
