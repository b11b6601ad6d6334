"""A page for users: it asks for a session, joins its room with livekit-client and shows how the session is doing.

    cd examples/web && npm ci     # livekit-client
    .venv/bin/python -m examples.web.server --port 8200

The page talks to this server, and this server to the session manager: users never reach the manager, and what their
sessions need is decided here. Outside dev mode that takes an API key of the manager's, in SESSION_MANAGER_API_KEY.
A real one would also know who the user is; here everybody is somebody new, and whoever knows the id of a session is
taken for its user.
"""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

SERVICES = ("asr-service", "llm-service", "tts-service")
PATIENCE = aiohttp.ClientTimeout(total=10)

HERE = Path(__file__).parent
FILES = {
    "/": HERE / "index.html",
    "/page.js": HERE / "page.js",
    "/livekit-client.js": HERE / "node_modules" / "livekit-client" / "dist" / "livekit-client.esm.mjs",
}
SESSION = "/session/{session_id:[A-Za-z0-9_]+}"

MANAGER = web.AppKey("MANAGER", aiohttp.ClientSession)
REQUIRED = web.AppKey("REQUIRED", list[str])

routes = web.RouteTableDef()


@routes.post("/session")
async def start(request: web.Request) -> web.Response:
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise web.HTTPForbidden  # another site's page starts none in the name of its visitors
    wanted = {"user_identity": f"web-{uuid.uuid4()}", "required_services": request.app[REQUIRED]}
    return await answer_of_manager(request, "", json=wanted, headers={"Prefer": "respond-async"})


@routes.get(SESSION)
@routes.delete(SESSION)
async def look_or_end(request: web.Request) -> web.Response:
    return await answer_of_manager(request, f"/{request.match_info['session_id']}")


async def answer_of_manager(request: web.Request, path: str, **more: Any) -> web.Response:
    try:
        async with request.app[MANAGER].request(request.method, f"/api/v1/sessions{path}", **more) as answer:
            return web.Response(
                body=await answer.read(),
                status=answer.status,
                content_type=answer.content_type,
                headers={"Cache-Control": "no-store"},  # it may hold a token
            )
    except (aiohttp.ClientError, TimeoutError):
        problem = {"detail": "The session manager does not answer."}
        return web.json_response(problem, status=HTTPStatus.BAD_GATEWAY)


async def file(request: web.Request) -> web.FileResponse:
    return web.FileResponse(FILES[request.path], headers={"Cache-Control": "no-cache"})


def create_app(manager_url: str, services: Sequence[str] = SERVICES, api_key: str | None = None) -> web.Application:
    proof = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def manager(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(manager_url, timeout=PATIENCE, headers=proof) as app[MANAGER]:
            yield

    app = web.Application()
    app[REQUIRED] = list(services)
    app.cleanup_ctx.append(manager)
    app.add_routes(routes)
    app.add_routes([web.get(path, file) for path in FILES])
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="A page that starts sessions and shows how they are doing.")
    parser.add_argument("--port", type=int, default=8200, help="port to listen on (8200)")
    parser.add_argument("--manager", default="http://localhost:8080", help="URL of the session manager")
    chosen = parser.parse_args()
    if not FILES["/livekit-client.js"].exists():
        sys.exit(f"livekit-client is missing: run `npm ci` in {HERE}")
    app = create_app(chosen.manager, api_key=os.environ.get("SESSION_MANAGER_API_KEY"))
    web.run_app(app, host="127.0.0.1", port=chosen.port)


if __name__ == "__main__":
    main()
