"""The application's keys for objects of manager_agent/, which does not import aiohttp.web.

Every other key stands beside the class that it names.
"""

from __future__ import annotations

from aiohttp import web

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.probe import Probe
from manager_agent.control.recovery import Recovery
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.outbound.callback_service import CallbackService
from manager_agent.records.records import Records
from manager_agent.registry.registry import Registry
from manager_agent.store.recording import Recording
from manager_agent.store.store import Store
from manager_agent.tasks import Tasks

CLOCK: web.AppKey[Clock] = web.AppKey("CLOCK")
STORE: web.AppKey[Store] = web.AppKey("STORE")
RECORDS: web.AppKey[Records] = web.AppKey("RECORDS")
REGISTRY = web.AppKey("REGISTRY", Registry)
ACTING: web.AppKey[ActingGate] = web.AppKey("ACTING")
ROOMS = web.AppKey("ROOMS", Rooms)
ORCHESTRATOR = web.AppKey("ORCHESTRATOR", Orchestrator)
RECORDING = web.AppKey("RECORDING", Recording)
RECOVERY = web.AppKey("RECOVERY", Recovery)
PROBE = web.AppKey("PROBE", Probe)
AGENT = web.AppKey("AGENT", ManagerAgent)
INVITE_ADDRESSES = web.AppKey("INVITE_ADDRESSES", AddressPolicy)
CALLBACK_ADDRESSES = web.AppKey("CALLBACK_ADDRESSES", AddressPolicy)
CALLBACKS: web.AppKey[CallbackService] = web.AppKey("CALLBACKS")
TASKS = web.AppKey("TASKS", Tasks)
"""What a request has begun and must be finished though its client is gone."""
