"""/openapi.json, and /docs: a page that shows it, which needs nothing from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import RootModel

from http_api.openapi.document import document
from http_api.operations import Media, Operation
from http_api.web.files import File
from http_api.web.pages import A_DAY, Page, policy

POLICY = policy(img_src="data:")
"""Swagger UI's stylesheet has its icons in itself. `connect-src`: openapi.json, and what `Try it out` asks."""

PAGE = Page(
    File.static("docs/index.html", Media.HTML),
    {
        "init.js": File.static("docs/init.js", "text/javascript"),
        "docs.css": File.static("docs/docs.css", "text/css"),
        "swagger-ui-bundle.js": File.static("swagger-ui/swagger-ui-bundle.js", "text/javascript", A_DAY),
        "swagger-ui.css": File.static("swagger-ui/swagger-ui.css", "text/css", A_DAY),
    },
)


class OpenApi(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""


def described(operations: Iterable[Operation]) -> File:
    """The document of these operations."""
    content = json.dumps(document(operations), ensure_ascii=False, separators=(",", ":")).encode()
    return File(content, Media.JSON)


async def openapi(request: web.Request) -> web.Response:
    """Gives this document, as OpenAPI 3.1."""
    return request.app[DOCUMENT].answer(request)


async def page(request: web.Request) -> web.Response:
    """Shows this document as a page, which can also call what it shows."""
    return PAGE.answer(request, POLICY)


async def asset(request: web.Request) -> web.Response:
    """What the page loads."""
    return PAGE.answer_file(request)


DOCUMENT = web.AppKey("DOCUMENT", File)
"""The OpenAPI document."""
