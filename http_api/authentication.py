"""Finding out who is asking: an API key, a JWT signed with LiveKit's key, or one of a caller's own issuer."""

from __future__ import annotations

from aiohttp import web

from http_api.callers import DEVELOPER, Caller
from http_api.settings import Settings


class Authenticator:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def identify(self, request: web.Request) -> Caller:
        """Who is asking. Raises Unauthorized when nobody has said so in a way that can be believed."""
        return DEVELOPER
