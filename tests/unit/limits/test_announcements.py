"""What is announced is ended, also when it is not known whether it was announced."""

from __future__ import annotations

import asyncio

import pytest

from http_api.limits.announcements import Announcements
from manager_agent.redis.connection import RedisAway

pytestmark = pytest.mark.unit


class Ending:
    def __init__(self) -> None:
        self.has_come = asyncio.Event()
        self.announcements = Announcements(self._committed)

    async def _committed(self) -> None: ...

    async def end(self) -> None:
        self.has_come.set()

    def fail(self, error: BaseException) -> None:
        """Announce something, which fails."""
        with (
            pytest.raises(type(error)),
            self.announcements.beginning(self.end, name="end it", kept_for=60_000),
        ):
            raise error


@pytest.mark.parametrize("error", [RedisAway("no answer", is_uncertain=True), asyncio.CancelledError()])
async def test_what_may_have_been_announced_is_ended(error: BaseException) -> None:
    ending = Ending()
    ending.fail(error)
    await ending.has_come.wait()


async def test_what_redis_refused_to_take_is_left_alone() -> None:
    """It refuses to take the end too, for as long: each refused request would try that again and again."""
    ending = Ending()
    ending.fail(RedisAway("Redis answered MISCONF", code="MISCONF"))
    await ending.announcements.end_again()
    await ending.announcements.aclose()
    assert not ending.has_come.is_set()
