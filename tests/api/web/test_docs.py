"""/openapi.json and /docs: the document, the page that shows it, and the calls in it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import dataclass

import pytest

from http_api.errors import NoReplicas
from http_api.models.services import RegisterService
from http_api.openapi.curls import SERVER, SESSION_ID, curl
from http_api.openapi.document import document
from http_api.openapi.schemas import example_of
from http_api.operations import Operation
from http_api.routes import OPERATIONS
from http_api.web.docs import PAGE
from tests.api.eager_services import decide_at_once
from tests.api.stand_ins import Api

pytestmark = pytest.mark.api

DOCUMENTED = [operation for operation in OPERATIONS if operation.is_documented]


async def test_openapi_document_is_served_with_an_etag(api: Api) -> None:
    async with api.http.get("/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert await answer.json() == json.loads(json.dumps(document(OPERATIONS)))
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    for known, status in ((tag, 304), (f'W/{tag}, "other"', 304), ("*", 304), ('"other"', 200), ("nonsense", 200)):
        async with api.http.get("/openapi.json", headers={"If-None-Match": known}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (status, tag)


async def test_docs_page_loads_from_this_server_only(api: Api) -> None:
    async with api.http.get("/docs") as answer:
        assert (answer.status, answer.content_type, answer.charset) == (200, "text/html", "utf-8")
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert "http" not in policy
    assert not re.search(r"<script(?![^>]* src=)|\bon\w+=|style=|//", page)
    for name in re.findall(r'(?:src|href)="docs/([^"]+)"', page):
        assert name in PAGE.loads


@pytest.mark.parametrize("name", PAGE.loads)
async def test_files_of_the_docs_page_are_served(api: Api, name: str) -> None:
    async with api.http.get(f"/docs/{name}") as answer:
        assert answer.status == 200
        assert answer.content_type == ("text/css" if name.endswith(".css") else "text/javascript")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert await answer.read() == PAGE.loads[name].content
    async with api.http.head(f"/docs/{name}") as answer:
        assert (answer.status, answer.content_length) == (200, len(PAGE.loads[name].content))
    async with api.http.get(f"/docs/{name}", headers={"If-None-Match": answer.headers["ETag"]}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/docs/LICENSE", "/docs/..%2Fdocs.py", "/docs/%2e%2e%2f__init__.py", "/docs/", "/docs/a/b"]
)
async def test_other_paths_below_docs_are_404(api: Api, path: str) -> None:
    status, _, problem = await api.ask("GET", "/" + path)
    assert (status, problem["title"]) == (404, "Unknown path")


@dataclass(frozen=True)
class CurlCall:
    method: str
    url: str
    headers: dict[str, str]
    body: str | None


def read_curl(text: str) -> CurlCall:
    """The request that a shell and curl make of the text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-N", action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="body")
    parser.add_argument("url")
    program, *words = shlex.split(text.replace("$(uuidgen)", "d1f7a8c0").replace("\\\n", ""))
    assert program == "curl"
    given = parser.parse_args(words)
    headers = dict(header.split(": ", 1) for header in given.headers)
    return CurlCall(given.method or ("GET" if given.body is None else "POST"), given.url, headers, given.body)


@pytest.mark.parametrize("operation", DOCUMENTED, ids=lambda operation: operation.id)
async def test_curl_call_in_each_description_succeeds(api: Api, operation: Operation) -> None:
    """For an existing session and service, without a key, as dev mode allows."""
    description = document(OPERATIONS)["paths"][operation.path][operation.method.lower()]["description"]
    assert curl(operation) in description
    call = read_curl(curl(operation))
    decide_at_once(api.parts.store)
    assert (await api.ask("POST", "/microservices/register", example_of(RegisterService)))[0] == 201
    _, _, session = await api.open()
    url = call.url.removeprefix(SERVER).replace(SESSION_ID, session["session_id"])
    assert call.method == operation.method
    async with api.http.request(call.method, url, headers=call.headers, data=call.body) as answer:
        if NoReplicas in operation.errors:
            assert answer.status == 409  # this process has no others
        elif operation.proof is None:
            assert answer.status in {status.value for status in operation.answers}
        else:
            assert answer.status == 401  # the token of an invite and LiveKit's signature can't be made up
