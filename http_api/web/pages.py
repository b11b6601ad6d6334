"""Pages with the files that they load, and a Content-Security-Policy that allows nothing else: used by / and /docs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from http_api.web.files import File

STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
"""A Content-Security-Policy that allows scripts, styles and requests only from this server."""
A_DAY = "public, max-age=86400"
"""The Cache-Control header of third-party files, which change only with a new version."""


def policy(**more: str) -> str:
    """The strict policy with these directives replaced or added. Write names with underscores for hyphens. PURE."""
    rules = STRICT | {name.replace("_", "-"): sources for name, sources in more.items()}
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


@dataclass(frozen=True)
class Page:
    html: File
    loads: Mapping[str, File]
    """The files that the page loads, by name. No other file is served."""

    def answer(self, request: web.Request, allowed: str) -> web.Response:
        """The page as a response, with `allowed` as its Content-Security-Policy."""
        return self.html.answer(request, {"Content-Security-Policy": allowed, "Referrer-Policy": "no-referrer"})

    def answer_file(self, request: web.Request) -> web.Response:
        """The file named in the path, as a response. Raises HTTPNotFound."""
        file = self.loads.get(request.match_info["file"])
        if file is None:
            raise web.HTTPNotFound
        return file.answer(request)
