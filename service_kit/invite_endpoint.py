"""The HTTP endpoint of a service: takes the manager's messages after checking their signature. It answers

200 accepted, also if accepted before
400 invalid JSON, 413 too long, 408 too slow, 422 unknown message
401 not signed with our keys
403 sent by a web page, which may know the keys of dev mode
409 declined, or the session is over, 429 at capacity, 503 the service is stopping
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated

import structlog
from aiohttp import web
from pydantic import Field, TypeAdapter, ValidationError

from manager_agent.messages import Invite, SessionEndedMessage
from manager_agent.outbound.signing import NotSigned, verify
from service_kit.session_jobs import InviteReply

BODY_MAX = 64 * 1024
"""Bytes. An invite without metadata takes about 1,500."""
BODY_TIMEOUT = 10.0

PAGES_ONLY = frozenset({"Origin", "Sec-Fetch-Site"})
"""Headers that browsers send with every POST, and the session manager never: a page can reach a service on loopback,
and under a name of its own (DNS rebinding) it may set any other header."""

log = structlog.get_logger()

_message: TypeAdapter[Invite | SessionEndedMessage] = TypeAdapter(
    Annotated[Invite | SessionEndedMessage, Field(discriminator="event")]
)


MessageHandler = Callable[[Invite | SessionEndedMessage], Awaitable[InviteReply]]


def invite_endpoint(path: str, keys: tuple[str, str], take: MessageHandler) -> web.Application:
    """An application that passes each message signed with `keys` (API key, secret) to `take` and sends its reply."""

    async def receive(request: web.Request) -> web.Response:
        if any(name in request.headers for name in PAGES_ONLY):
            log.warning("message_of_a_page", origin=request.headers.get("Origin"))
            return _response(InviteReply(HTTPStatus.FORBIDDEN, "web pages may not send invites"))
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await request.read()
        except TimeoutError:
            return _response(InviteReply(HTTPStatus.REQUEST_TIMEOUT, "the body took too long"))
        reply = await _answer(body, request.headers.get("Authorization", ""))
        return _response(reply)

    async def _answer(body: bytes, authorization: str) -> InviteReply:
        try:
            verify(body, authorization, *keys)
            return await take(_message.validate_json(body))
        except NotSigned as wrong:
            log.warning("message_not_signed", why=str(wrong))
            return InviteReply(HTTPStatus.UNAUTHORIZED, str(wrong))
        except ValidationError as wrong:
            first = wrong.errors(include_input=False)[0]
            log.warning("message_unreadable", why=first["msg"], where=first["loc"])
            is_invalid_json = first["type"] == "json_invalid"
            return InviteReply(
                HTTPStatus.BAD_REQUEST if is_invalid_json else HTTPStatus.UNPROCESSABLE_ENTITY, first["msg"]
            )

    application = web.Application(client_max_size=BODY_MAX)
    application.router.add_post(path, receive)
    return application


def _response(reply: InviteReply) -> web.Response:
    return web.json_response({"detail": reply.text}, status=reply.status)
