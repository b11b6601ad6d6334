"""Where the parts of the running application, and the facts about one request, are found, with their types."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from http_api.access.authentication import Authenticator
from http_api.access.principals import Principal
from http_api.limits.gcra import Allowance, RateLimits
from http_api.limits.idempotency_store import IdempotencyStore
from http_api.limits.quotas import Capacity
from http_api.limits.waiters import Waiters
from http_api.models.requests import Profiles
from http_api.observability.logs.recent import RecentLogs
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.shipping.shipper import LogShipper
from http_api.observability.tracing import Tracing
from http_api.observability.upstreams import Upstreams
from http_api.operations import Operation
from http_api.settings.settings import Settings
from http_api.streams.subscribers import FeedReaders
from http_api.web.files import File
from manager_agent.clock import Clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.probe import Probe
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.outbound.callbacks import Callbacks
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import Unmet
from manager_agent.store.memory import MemoryStore
from manager_agent.tasks import Tasks
from manager_agent.traceparent import TraceContext

SETTINGS = web.AppKey("SETTINGS", Settings)
CLOCK: web.AppKey[Clock] = web.AppKey("CLOCK")
STORE = web.AppKey("STORE", MemoryStore)
REGISTRY = web.AppKey("REGISTRY", Registry)
PROFILES: web.AppKey[Profiles] = web.AppKey("PROFILES")
ROOMS = web.AppKey("ROOMS", Rooms)
ORCHESTRATOR = web.AppKey("ORCHESTRATOR", Orchestrator)
PROBE = web.AppKey("PROBE", Probe)
AGENT = web.AppKey("AGENT", ManagerAgent)
ADDRESS_POLICY = web.AppKey("ADDRESS_POLICY", AddressPolicy)
CALLBACKS = web.AppKey("CALLBACKS", Callbacks)
SHIPPER: web.AppKey[LogShipper] = web.AppKey("SHIPPER")
"""Of the log; `stats` says how that goes."""
OPERATIONS: web.AppKey[Mapping[Any, Operation]] = web.AppKey("OPERATIONS")
"""Every operation, by its handler."""
DOCUMENT = web.AppKey("DOCUMENT", File)
"""The OpenAPI document."""
AUTHENTICATOR = web.AppKey("AUTHENTICATOR", Authenticator)
TASKS = web.AppKey("TASKS", Tasks)
"""What a request has begun and must be finished though its client is gone."""
STOPPING = web.AppKey("STOPPING", asyncio.Event)
"""Set once the process has been asked to end."""
UPSTREAMS = web.AppKey("UPSTREAMS", Upstreams)
FEED = web.AppKey("FEED", FeedReaders)
RECENT_LOGS = web.AppKey("RECENT_LOGS", RecentLogs)
WAITERS = web.AppKey("WAITERS", Waiters)
CAPACITY = web.AppKey("CAPACITY", Capacity)
RATE_LIMITS = web.AppKey("RATE_LIMITS", RateLimits)
IDEMPOTENCY_STORE = web.AppKey("IDEMPOTENCY_STORE", IdempotencyStore)
METRICS = web.AppKey("METRICS", Metrics)
TRACING: web.AppKey[Tracing] = web.AppKey("TRACING")

PRINCIPAL = web.RequestKey("PRINCIPAL", Principal)
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
ABOUT: web.RequestKey[Mapping[str, str]] = web.RequestKey("ABOUT")
"""What its log lines are about: ids by their names."""
TRACE = web.RequestKey("TRACE", TraceContext)
"""Its own span, or the one that it came with; not there if it belongs to no trace."""
BODY = web.RequestKey("BODY", bytes)
"""What came in, where it was read already."""
ALLOWANCE = web.RequestKey("ALLOWANCE", Allowance)
"""What is left to whoever sent the request, where that is limited."""
PROBLEM = web.RequestKey("PROBLEM", str)
"""The slug of the problem that the request was answered with."""
UNMET: web.RequestKey[tuple[Unmet, ...]] = web.RequestKey("UNMET")
"""What it required and nobody could be invited as."""
