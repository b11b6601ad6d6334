"""What went wrong with a command: Redis could not carry it out (RedisAway), or it was wrong (CommandRefused)."""

from __future__ import annotations

import os
import socket
import ssl

from manager_agent.redis.redis_errors import exceptions

AWAY = frozenset(
    {
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
        "WRONGPASS",
    }
)
"""The codes of answers that are about the state of Redis, or about what it lets us do, not about the command."""
REFUSING = frozenset({"OOM", "NOPERM", "MISCONF", "NOREPLICAS"})
"""Those of a Redis that may still carry out other commands."""
SHOWN = 300
"""Characters of an answer."""


class RedisAway(Exception):
    """A command could not be carried out, now. The message says why, without secrets."""

    retry_after = 1.0
    """Seconds."""

    def __init__(self, reason: str, *, is_uncertain: bool = False, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_uncertain = is_uncertain
        """Whether the command may have been carried out: only the answer is missing."""
        self.code = code
        """Of Redis's answer, if it gave one."""


class CommandRefused(Exception):
    """Redis answered that a command or script is wrong: a bug."""


class DatabaseMissing(exceptions.RedisError):
    """Redis has no database of the number that the URL names."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Redis has no database {number}")


def code_of(error: Exception) -> str:
    """The first word of an error answer."""
    return getattr(error, "status_code", None) or str(error).partition(" ")[0]


def fault_of_answer(error: Exception, what: str) -> RedisAway | CommandRefused:
    """`error`: an answer of Redis to the command or script `what`. The command was not carried out."""
    code = code_of(error)
    if code in AWAY:
        return RedisAway(f"Redis answered {code}", code=code)
    if isinstance(error, exceptions.AskError):  # MOVED too
        return RedisAway("Redis is a cluster, or its nodes don't agree: REDIS_URL must begin with redis+cluster://")
    if isinstance(error, exceptions.ConnectionError):
        return RedisAway("Redis refused the connection")
    said, _, _ = str(error).partition(", with args")  # which may be secret
    return CommandRefused(f"{what}: {said[:SHOWN]}")


def why_unreached(error: BaseException) -> str:
    """Why there is no connection, or no longer: what the system says, without the text of other libraries."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    for one in reversed(seen):
        match one:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not accepted: {one.verify_message}"
            case ssl.SSLError():
                return "no TLS connection"
            case exceptions.AuthenticationError() | exceptions.NoPermissionError():
                return "Redis refused user or password"
            case DatabaseMissing():
                return str(one)
            case exceptions.BusyLoadingError():
                return "Redis answered LOADING"
            case socket.gaierror():
                return "the host is not found"
            case OSError() if one.errno is not None:
                return os.strerror(one.errno)
    if any(isinstance(one, TimeoutError | exceptions.TimeoutError) for one in seen):
        return "no answer in time"
    return "the connection was lost"
