"""/: the page that shows sessions as they come about, what is registered, and lets an operator try it all.

What it shows, it asks of the API with the key of whoever looks at it: the page itself is for everybody.
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
"""Where a client is sent on to other hosts of the same domain, as livekit-client's `isCloud` has it."""
HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""What may stand in a policy: nothing that ends a source or a directive."""


def _own_files() -> dict[str, File]:
    """Every script and stylesheet of the page, by its name."""
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
    """What a page that joins rooms must be allowed to connect to: LiveKit's public URL, by WebSocket, and by HTTP,
    where its client looks why a connection failed. PURE."""
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
    """The policy of the page, where rooms are joined at this URL. PURE."""
    return policy(img_src="'self'", connect_src=f"'self' {livekit_sources(public_url)}".rstrip())


async def page(request: web.Request) -> web.Response:
    """Shows sessions and services as they are, live.

    Its data it asks of the API, with an API key that it asks for; in dev mode it needs none.
    """
    return PAGE.answer(request, allowed(request.app[SETTINGS].public_url))


async def asset(request: web.Request) -> web.Response:
    """What the page loads."""
    return PAGE.answer_file(request)
