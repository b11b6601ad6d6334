"""The back end of two example pages for end users: a telephone without a framework at /, and one in React at /react.

    (cd examples/web && npm ci && npm run build)   # livekit-client; the React page
    .venv/bin/python -m examples.web.server --port 8200

The pages talk to this server, and this server to the session manager: users can't reach the manager, and this server
decides which services their sessions require. Outside dev mode it needs an API key of the manager, in
SESSION_MANAGER_API_KEY. A real server would also authenticate the user; here every session has a new user, and knowing
a session's id is enough to use it.
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
TIMEOUT = aiohttp.ClientTimeout(total=10)

HERE = Path(__file__).parent
FILES = {
    "/": HERE / "telephone.html",
    "/telephone.js": HERE / "telephone.js",
    "/react": HERE / "react.html",
    "/react.js": HERE / "build" / "react.js",
    "/session.js": HERE / "session.js",
    "/page.css": HERE / "page.css",
    "/livekit-client.js": HERE / "node_modules" / "livekit-client" / "dist" / "livekit-client.esm.mjs",
}
SESSION = "/session/{session_id:[A-Za-z0-9_]+}"

MANAGER = web.AppKey("MANAGER", aiohttp.ClientSession)
REQUIRED = web.AppKey("REQUIRED", list[str])

routes = web.RouteTableDef()


@routes.post("/session")
async def start(request: web.Request) -> web.Response:
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise web.HTTPForbidden  # pages of other sites must not create sessions for their visitors
    body = {"user_identity": f"web-{uuid.uuid4()}", "required_services": request.app[REQUIRED]}
    return await forward(request, "", json=body, headers={"Prefer": "respond-async"})


@routes.get(SESSION)
@routes.delete(SESSION)
async def show_or_end(request: web.Request) -> web.Response:
    return await forward(request, f"/{request.match_info['session_id']}")


async def forward(request: web.Request, path: str, **more: Any) -> web.Response:
    """Call the session manager and return its response."""
    try:
        async with request.app[MANAGER].request(request.method, f"/api/v1/sessions{path}", **more) as answer:
            return web.Response(
                body=await answer.read(),
                status=answer.status,
                content_type=answer.content_type,
                headers={"Cache-Control": "no-store"},  # the response may contain a token
            )
    except (aiohttp.ClientError, TimeoutError):
        problem = {"detail": "The session manager does not answer."}
        return web.json_response(problem, status=HTTPStatus.BAD_GATEWAY)


async def file(request: web.Request) -> web.FileResponse:
    return web.FileResponse(FILES[request.path], headers={"Cache-Control": "no-cache"})


def create_app(manager_url: str, services: Sequence[str] = SERVICES, api_key: str | None = None) -> web.Application:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def manager(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(manager_url, timeout=TIMEOUT, headers=headers) as app[MANAGER]:
            yield

    app = web.Application()
    app[REQUIRED] = list(services)
    app.cleanup_ctx.append(manager)
    app.add_routes(routes)
    app.add_routes([web.get(path, file) for path in FILES])
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the example pages, and ask for their sessions.")
    parser.add_argument("--port", type=int, default=8200, help="port to listen on (8200)")
    parser.add_argument("--manager", default="http://localhost:8080", help="URL of the session manager")
    options = parser.parse_args()
    if not all(path.exists() for path in FILES.values()):
        sys.exit(f"The pages are not built: run `npm ci && npm run build` in {HERE}")
    app = create_app(options.manager, api_key=os.environ.get("SESSION_MANAGER_API_KEY"))
    web.run_app(app, host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
