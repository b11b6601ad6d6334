"""CORS: pages of the allowed origins may call the API from a browser.

They authenticate like any other caller. The API uses no cookies, so credentials mode is not enabled.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from aiohttp import web

from http_api.protocol.local_callers import AllowedOrigins

HEADER_NAMES = re.compile(r"(?:[ \t]*+[!#$%&'*+.^_`|~0-9A-Za-z-]++[ \t]*+(?:,|\Z))++")
"""A list of header names, as a browser asks for them. A page of an allowed origin may send any header: tracing and
monitoring libraries add their own."""
ANSWER_HEADERS = ", ".join(
    (
        *("ETag", "Idempotency-Replayed", "Location", "Preference-Applied", "RateLimit", "RateLimit-Policy"),
        *("Retry-After", "Server-Timing", "WWW-Authenticate", "X-Request-Id"),
    )
)
"""The response headers that a page may read."""
MAX_AGE = 3_600
"""Seconds for which a browser may cache a preflight response."""


class CrossOrigin:
    def __init__(self, origins: AllowedOrigins) -> None:
        """Without origins, CORS is off."""
        self._origins = origins

    def preflight(self, request: web.Request) -> web.Response | None:
        """The response to a preflight request; None for any other request. Preflight requests need no authentication,
        because browsers send no credentials with them."""
        asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asked or not self._origins:
            return None
        unserved = request.match_info.http_exception
        if not isinstance(unserved, web.HTTPMethodNotAllowed):
            return None
        answer = web.Response(status=HTTPStatus.NO_CONTENT)
        if request.headers.get("Origin", "") in self._origins:
            answer.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(unserved.allowed_methods))
            answer.headers.add("Vary", "Access-Control-Request-Headers")
            asked_for = ", ".join(request.headers.getall("Access-Control-Request-Headers", ()))
            if HEADER_NAMES.fullmatch(asked_for):
                answer.headers["Access-Control-Allow-Headers"] = asked_for
            answer.headers["Access-Control-Max-Age"] = str(MAX_AGE)
        return answer

    def allow(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Add the CORS headers to every response, including streams and problems."""
        if not self._origins:
            return
        answer.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is not None and origin in self._origins:
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Access-Control-Expose-Headers"] = ANSWER_HEADERS
            answer.headers["Timing-Allow-Origin"] = origin
