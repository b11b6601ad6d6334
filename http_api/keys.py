"""Where the parts of the running application, and the facts about one request, are found, with their types."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from http_api.authentication import Authenticator
from http_api.callers import Caller
from http_api.operations import Operation
from http_api.schemas import Profiles
from http_api.settings import Settings
from manager_agent.addresses import Guard
from manager_agent.agent import ManagerAgent
from manager_agent.clock import Clock
from manager_agent.conductor import Conductor
from manager_agent.probe import Probe
from manager_agent.registry import Registry
from manager_agent.rooms import Rooms
from manager_agent.store import MemoryStore
from manager_agent.tasks import Tasks

SETTINGS = web.AppKey("SETTINGS", Settings)
CLOCK: web.AppKey[Clock] = web.AppKey("CLOCK")
STORE = web.AppKey("STORE", MemoryStore)
REGISTRY = web.AppKey("REGISTRY", Registry)
PROFILES: web.AppKey[Profiles] = web.AppKey("PROFILES")
ROOMS = web.AppKey("ROOMS", Rooms)
CONDUCTOR = web.AppKey("CONDUCTOR", Conductor)
PROBE = web.AppKey("PROBE", Probe)
AGENT = web.AppKey("AGENT", ManagerAgent)
GUARD = web.AppKey("GUARD", Guard)
OPERATIONS: web.AppKey[Mapping[Any, Operation]] = web.AppKey("OPERATIONS")
"""Every operation, by its handler."""
AUTHENTICATOR = web.AppKey("AUTHENTICATOR", Authenticator)
TASKS = web.AppKey("TASKS", Tasks)
"""What a request has begun and must be finished though its client is gone."""
STOPPING = web.AppKey("STOPPING", asyncio.Event)
"""Set once the process has been asked to end."""

CALLER = web.RequestKey("CALLER", Caller)
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
PROBLEM = web.RequestKey("PROBLEM", str)
"""The slug of the problem that the request was answered with."""
