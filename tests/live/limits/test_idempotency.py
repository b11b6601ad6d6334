"""Two hundred concurrent requests with one Idempotency-Key and real services make one session."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.live.conftest import Stack
from tests.live.puppets import Puppet

pytestmark = pytest.mark.live

AT_ONCE = 200
SERVICES = ("asr", "llm")


async def test_two_hundred_duplicates_make_one_real_room_and_one_invite_per_service(stack: Stack) -> None:
    body = {"user_identity": "alice", "required_services": list(SERVICES)}

    async def ask(http: aiohttp.ClientSession) -> tuple[int, bytes]:
        async with http.post("/api/v1/sessions", json=body, headers={"Idempotency-Key": "one-and-the-same"}) as answer:
            return answer.status, await answer.read()

    async with AsyncExitStack() as entered:
        puppets = [await entered.enter_async_context(Puppet(stack.url, service_id)) for service_id in SERVICES]
        connector = aiohttp.TCPConnector(limit=0)
        http = await entered.enter_async_context(aiohttp.ClientSession(stack.url, connector=connector))
        answers = await asyncio.gather(*(ask(http) for _ in range(AT_ONCE)))
        assert {status for status, _ in answers} <= {201, 409}, "who comes while it runs is told to come again"
        made = {answer for answer in answers if answer[0] == 201}
        again = await asyncio.gather(*(ask(http) for _ in range(AT_ONCE)))
        assert made == set(again)
        assert len(made) == 1, "one answer, to the byte"

        (session,) = stack.store.list()
        assert await stack.rooms() == [session.room_name]
        invites = [set(puppet.invites) for puppet in puppets]  # one sent again, on a busy machine, has the same id
        assert list(map(len, invites)) == [1] * len(SERVICES)
