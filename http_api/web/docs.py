"""/openapi.json, and /docs: Swagger UI for it, which loads nothing from other servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import ConfigDict, RootModel

from http_api.openapi.document import document
from http_api.operations import Media, Operation
from http_api.web.files import File
from http_api.web.pages import A_DAY, Page, policy

POLICY = policy(img_src="data:")
"""Swagger UI's stylesheet embeds its icons as `data:` URLs. `connect-src` is for openapi.json and `Try it out`."""

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

    model_config = ConfigDict(defer_build=True)


def document_file(operations: Iterable[Operation]) -> File:
    """The OpenAPI document of these operations, as a file. It is made when it is first read."""

    def read() -> bytes:
        return json.dumps(document(operations), ensure_ascii=False, separators=(",", ":")).encode()

    return File(read, Media.JSON)


async def openapi(request: web.Request) -> web.Response:
    """Get the OpenAPI document.

    OpenAPI 3.1, as JSON.
    """
    file = request.app[DOCUMENT]
    if not file.is_read:
        await asyncio.to_thread(lambda: file.content)  # it takes 0.1 s: all models are built
    return file.answer(request)


async def page(request: web.Request) -> web.Response:
    """Get the API documentation page.

    It renders the OpenAPI document, and can call the operations.
    """
    return PAGE.answer(request, POLICY)


async def asset(request: web.Request) -> web.Response:
    """Get a file of the documentation page."""
    return PAGE.answer_file(request)


DOCUMENT = web.AppKey("DOCUMENT", File)
"""The OpenAPI document."""
