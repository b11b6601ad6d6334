"""The connection to Redis: commands whose time is bounded, and whose failure says whether they may have been carried
out.

A command is sent again only where it is certain that it was not carried out: another server has the keys now, or a
script was not known.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from manager_agent.redis.faults import REFUSING, fault_of_answer, why_unreached
from manager_agent.redis.faults import CommandRefused as CommandRefused
from manager_agent.redis.faults import RedisAway as RedisAway
from manager_agent.redis.keys import Keys
from manager_agent.redis.redis_errors import exceptions
from manager_agent.redis.refusals import Refusals
from manager_agent.redis.script import Script
from manager_agent.redis.url import RedisUrl

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from manager_agent.redis.primary import Address

log = structlog.get_logger()

CONNECT_TIMEOUT = 2.0
"""Seconds for a connection: the login too, and before it sentinels or nodes of a cluster, of which some may not
answer."""
ANSWER_TIMEOUT = 2.0
"""Seconds for the answer to a command."""
MAX_COMMANDS = 32
"""Commands at a time; more wait, so that a burst does not open hundreds of connections."""
MAX_REDIRECTIONS = 4
"""How often a command is sent because the keys have moved."""

Word = str | bytes | int | float
Command = Sequence[Word]
Observe = Callable[[str, float, str], None]
"""Called with the name of a command or script, its seconds, and how it ended: ok, away (not carried out), uncertain
(it may have been), or refused (it is wrong)."""
T = TypeVar("T")


class RedisConnection:
    """One per process."""

    def __init__(self, url: RedisUrl, deployment: str, observe: Observe | None = None) -> None:
        """`deployment`: what the keys begin with. Raises ValueError if they can't."""
        from manager_agent.redis.pool import Pool  # loads redis-py's clients, see redis_errors.py

        self.url = url
        self.keys = Keys(deployment)
        self.why_away: str | None = "Redis was not asked yet"
        """Why Redis can't be reached or serves nothing, as far as is known; None if it serves. Has no secrets."""
        self._is_away_logged = False
        self.refusals = Refusals(url.redacted)
        """What it refuses although it serves."""
        self._observe = observe or (lambda name, seconds, outcome: None)
        self._turns = asyncio.Semaphore(MAX_COMMANDS)
        self._pool = Pool(url, self.keys.changes)

    def __repr__(self) -> str:
        return f"<RedisConnection {self.url.redacted} [{'away' if self.is_away else 'there'}]>"

    @property
    def is_away(self) -> bool:
        return self.why_away is not None

    async def start(self) -> None:
        """Look whether Redis is there. Does not fail if it is not: a later command finds it."""
        with suppress(RedisAway):
            await self.call("PING")

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def call(self, *command: Word, blocks: float = 0.0) -> Any:
        """The answer to a command: bytes, int, None or a list of these.

        `blocks`: seconds for which the command itself waits. Raises RedisAway, CommandRefused."""
        (answer,) = await self._carry_out(str(command[0]), [command], blocks, is_urgent=blocks > 0)
        return _accepted(answer, str(command[0]))

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands that are sent together. They are no transaction: when one fails, others may have been
        carried out. Raises RedisAway, CommandRefused."""
        if not commands:
            return []
        answers = await self._carry_out("pipeline", commands)
        return [_accepted(answer, str(command[0])) for command, answer in zip(commands, answers, strict=True)]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """What a script returns. Raises RedisAway, CommandRefused."""
        rest, is_urgent = (len(keys), *keys, *args), script.is_urgent
        (answer,) = await self._carry_out(script.name, [("EVALSHA", script.sha, *rest)], is_urgent=is_urgent)
        if _is_unknown_script(answer):
            (answer,) = await self._carry_out(script.name, [("EVAL", script.source, *rest)], is_urgent=is_urgent)
        return _accepted(answer, script.name)

    # -- one exchange ----------------------------------------------------------------------------------------

    async def _carry_out(
        self, name: str, commands: Sequence[Command], blocks: float = 0.0, *, is_urgent: bool = False
    ) -> list[Any]:
        """The answers; those that refuse a command are exceptions. Raises RedisAway."""
        started = time.monotonic()
        outcome = "ok"
        try:
            async with self._turn(is_urgent):
                answers = await self._redirected(commands, blocks)
            _require_served(answers)
            if any(isinstance(answer, Exception) and not _is_unknown_script(answer) for answer in answers):
                outcome = "refused"
        except RedisAway as away:
            outcome = "uncertain" if away.is_uncertain else "away"
            self._failed(away)
            raise
        finally:
            self._observe(name, time.monotonic() - started, outcome)
        self._succeeded()
        return answers

    @asynccontextmanager
    async def _turn(self, is_urgent: bool) -> AsyncIterator[None]:
        """Wait until few enough commands are under way; urgent ones don't count. Raises RedisAway if that takes as long
        as a command may."""
        if is_urgent:
            yield
            return
        if self._turns.locked():
            await self._queue()
        else:
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    async def _queue(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT + ANSWER_TIMEOUT):
                await self._turns.acquire()
        except TimeoutError:
            raise RedisAway("too many commands wait for Redis") from None

    async def _redirected(self, commands: Sequence[Command], blocks: float) -> list[Any]:
        """Exchange, and do so again while the keys turn out to be elsewhere: then nothing was carried out."""
        asked: Address | None = None
        for _ in range(MAX_REDIRECTIONS):
            connection = await self._reached(self._pool.connect(asked) if asked else self._pool.acquire())
            asking = [("ASKING",)] if asked else []
            answers = (await self._exchange(connection, [*asking, *commands], blocks))[len(asking) :]
            asked = None
            match answers[0]:
                case exceptions.MovedError() as moved:  # is an AskError too
                    await self._pool.moved((moved.host, moved.port))
                case exceptions.AskError() as elsewhere:
                    asked = elsewhere.host, elsewhere.port
                case exceptions.ReadOnlyError():  # it was the primary
                    await self._pool.lost()
                case _:
                    break
        return answers

    async def _reached(self, connecting: Awaitable[T]) -> T:
        """What comes before a command is sent. Raises RedisAway: it was certainly not carried out."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await connecting
        except (OSError, exceptions.RedisError, exceptions.RedisClusterException) as error:
            self._pool.not_reached()
            raise RedisAway(why_unreached(error)) from None

    async def _exchange(self, connection: AbstractConnection, commands: Sequence[Command], blocks: float) -> list[Any]:
        is_done = False
        try:
            packed = connection.pack_commands(commands)
            async with asyncio.timeout(ANSWER_TIMEOUT + blocks):
                await connection.send_packed_command(packed, check_health=False)
                answers = [await _answer(connection) for _ in commands]
            is_done = True
            return answers
        except (exceptions.AuthenticationError, exceptions.BusyLoadingError) as error:
            raise fault_of_answer(error, "") from None
        except (OSError, exceptions.ConnectionError, exceptions.TimeoutError) as error:
            await self._pool.lost(connection)
            raise RedisAway(why_unreached(error), is_uncertain=True) from None
        finally:
            await self._pool.release(connection, is_reusable=is_done)

    # -- whether Redis is there ------------------------------------------------------------------------------

    def _succeeded(self) -> None:
        if self.is_away:
            self.why_away = None
            if self._is_away_logged:
                self._is_away_logged = False
                log.info("redis_back", redis=self.url.redacted)

    def _failed(self, away: RedisAway) -> None:
        if away.code in REFUSING:
            self.refusals.refused(away.code)
            return
        self.why_away = away.reason
        if not self._is_away_logged:
            self._is_away_logged = True
            log.warning("redis_away", redis=self.url.redacted, reason=away.reason)


async def _answer(connection: AbstractConnection) -> Any:
    """An answer, or the ResponseError that it is. The caller bounds the time."""
    try:
        return await connection.read_response(timeout=math.inf)
    except exceptions.ResponseError as refusal:
        return refusal


def _is_unknown_script(answer: Any) -> bool:
    return isinstance(answer, exceptions.NoScriptError)


def _require_served(answers: Sequence[Any]) -> None:
    """Raises RedisAway if an answer is about the state of Redis."""
    for answer in answers:
        if isinstance(answer, Exception) and isinstance(away := fault_of_answer(answer, ""), RedisAway):
            away.is_uncertain = len(answers) > 1  # of the others some may have been carried out
            raise away from None


def _accepted(answer: Any, name: str) -> Any:
    if isinstance(answer, Exception):
        raise fault_of_answer(answer, name) from None
    return answer
