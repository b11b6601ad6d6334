"""What is known of one request while it is answered: for its log lines, its metrics, its span."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from http_api.access.principals import Principal
from manager_agent.registry.services import Unmet
from manager_agent.traceparent import TraceContext

PRINCIPAL = web.RequestKey("PRINCIPAL", Principal)
"""Who is asking; set once admission.py has let the request through."""
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
ABOUT: web.RequestKey[Mapping[str, str]] = web.RequestKey("ABOUT")
"""What its log lines are about: ids by their names."""
TRACE = web.RequestKey("TRACE", TraceContext)
"""Its own span, or the one that it came with; not there if it belongs to no trace."""
PROBLEM = web.RequestKey("PROBLEM", str)
"""The slug of the problem that the request was answered with."""
UNMET: web.RequestKey[tuple[Unmet, ...]] = web.RequestKey("UNMET")
"""What it required and nobody could be invited as."""
