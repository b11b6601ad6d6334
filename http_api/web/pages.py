"""Pages that are served with what they load, and may load nothing else: what /docs and / have in common."""

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
"""The Content-Security-Policy of a page that runs, loads and asks only what is served here."""
A_DAY = "public, max-age=86400"
"""How long a browser may keep what changes with a version of something else."""


def policy(**more: str) -> str:
    """The strict policy with these directives changed or added; underscores stand for hyphens. PURE."""
    rules = STRICT | {name.replace("_", "-"): sources for name, sources in more.items()}
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


@dataclass(frozen=True)
class Page:
    html: File
    loads: Mapping[str, File]
    """What the page loads, by name. Nothing else of the disk is served."""

    def answer(self, request: web.Request, allowed: str) -> web.Response:
        """The page itself, which may do what this policy says."""
        return self.html.answer(request, {"Content-Security-Policy": allowed, "Referrer-Policy": "no-referrer"})

    def answer_file(self, request: web.Request) -> web.Response:
        """The `file` in the path. Raises HTTPNotFound."""
        file = self.loads.get(request.match_info["file"])
        if file is None:
            raise web.HTTPNotFound
        return file.answer(request)
