"""/: the dashboard, which shows sessions and registered services live and lets an operator try them.

The page itself is public. It gets its data from the API with the operator's own API key.
"""

from __future__ import annotations

import re

from aiohttp import web
from yarl import URL

from http_api.operations import Media
from http_api.settings.settings import SETTINGS
from http_api.web.files import STATIC, File
from http_api.web.pages import A_DAY, Page, policy

FOLDER = "dashboard"
MEDIA = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
LIVEKIT_CLOUD = (".livekit.cloud", ".livekit.run")
"""Domains in which LiveKit redirects clients to other hosts, as in livekit-client's `isCloud`."""
HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""Hosts that are safe in a Content-Security-Policy: no character that ends a source or a directive."""


def _own_files() -> dict[str, File]:
    """The page's scripts, stylesheets and images, by file name."""
    names = sorted(file.name for file in (STATIC / FOLDER).iterdir())
    media = {name: MEDIA.get(name[name.rfind(".") :]) for name in names}
    return {name: File.static(f"{FOLDER}/{name}", kind) for name, kind in media.items() if kind is not None}


PAGE = Page(
    File.static(f"{FOLDER}/index.html", Media.HTML),
    {
        **_own_files(),
        "preact.js": File.static("htm/standalone.module.js", "text/javascript", A_DAY),
        "livekit-client.js": File.static("livekit-client/livekit-client.umd.js", "text/javascript", A_DAY),
    },
)


def livekit_sources(public_url: str) -> str:
    """The `connect-src` sources for a page that joins rooms: LiveKit's public URL by WebSocket, and by HTTP, which
    livekit-client uses to find out why a connection failed. PURE."""
    url = URL(public_url)
    host = url.host_subcomponent or ""
    if not HOST.fullmatch(host):
        return ""
    authority = host if url.explicit_port is None else f"{host}:{url.explicit_port}"
    is_safe = url.scheme in ("wss", "https")
    schemes = ("wss", "https") if is_safe else ("ws", "http")
    domains = [f"*{domain}" for domain in LIVEKIT_CLOUD if is_safe and host.endswith(domain)]
    return " ".join(f"{scheme}://{place}" for place in (authority, *domains) for scheme in schemes)


def allowed(public_url: str) -> str:
    """The Content-Security-Policy of the page for this LiveKit URL. PURE."""
    return policy(img_src="'self'", connect_src=f"'self' {livekit_sources(public_url)}".rstrip())


async def page(request: web.Request) -> web.Response:
    """Get the dashboard page.

    It shows sessions and services live. It asks for an API key to read the API; in dev mode none is needed.
    """
    return PAGE.answer(request, allowed(request.app[SETTINGS].public_url))


async def asset(request: web.Request) -> web.Response:
    """Get a file of the dashboard page."""
    return PAGE.answer_file(request)
