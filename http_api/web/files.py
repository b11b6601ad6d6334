"""Static files: those of this package, and those that are generated. In memory from their first request on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from importlib import resources

from aiohttp import web

from http_api.protocol.conditional import known_tags

STATIC = resources.files("http_api") / "static"


@dataclass(frozen=True)
class File:
    read: Callable[[], bytes]
    media: str
    kept: str = "no-cache"
    """The Cache-Control header. By default the browser may keep a copy but must revalidate it."""

    @classmethod
    def static(cls, path: str, media: str, kept: str = "no-cache") -> File:
        """A file of this package's `static/`."""
        return cls(STATIC.joinpath(path).read_bytes, media, kept)

    @property
    def is_read(self) -> bool:
        """Whether the content is in memory."""
        return "content" in vars(self)

    @cached_property
    def content(self) -> bytes:
        """Raises OSError."""
        return self.read()

    @cached_property
    def tag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:32]

    def answer(self, request: web.Request, headers: Mapping[str, str] | None = None) -> web.Response:
        """The file as a response, or 304 when the client's copy is current."""
        sent = {"ETag": f'"{self.tag}"', "Cache-Control": self.kept, "X-Content-Type-Options": "nosniff"}
        sent |= headers or {}
        known = known_tags(request.headers.getall("If-None-Match", ()))
        if known is not None and (known.any or self.tag in known.tags):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=sent)
        charset = "utf-8" if self.media.startswith("text/") else None
        return web.Response(body=self.content, content_type=self.media, charset=charset, headers=sent)
