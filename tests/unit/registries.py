"""A registry in virtual time, and sessions that hold its services, for tests."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from manager_agent.registry.instances import InstanceState
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import NotAvailable, RegisteredService
from manager_agent.session.attempt import ServiceReason
from manager_agent.session.required_service import Requirement

TICK = 1.0


class HeldSlots(Counter[str]):
    """How many sessions hold each service, as a registry asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: list[Callable[[str], None]] = []

    def in_use(self, service_id: str) -> int:
        return self[service_id]

    def listen(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def __setitem__(self, service_id: str, count: int) -> None:
        super().__setitem__(service_id, count)
        for listener in self._listeners:
            listener(service_id)


class RegistryScenario:
    """A registry whose time passes only here, second by second, and the slots that sessions hold."""

    def __init__(self, *services: RegisteredService, seed: int = 0) -> None:
        self.now, self.may_reap = 1_000.0, True
        self.refs = HeldSlots()
        self.registry = Registry(lambda: self.now, self.refs, random.Random(seed), may_reap=lambda: self.may_reap)
        for service in services:
            self.registry.register(service)

    def pass_time(self, seconds: float, *beating: str) -> None:
        """Let time pass. `beating` send a heartbeat every second."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + TICK, end)
            self.registry.refresh()
            for service_id in beating:
                self.registry.heartbeat(service_id)

    def open(self, *requirements: Requirement) -> list[str]:
        """Open a session and return its service ids. Raises NotAvailable."""
        chosen = [entry.service_id for entry in self.registry.choose(requirements)]
        self.refs.update(chosen)
        return chosen

    def refused(self, *requirements: Requirement) -> list[ServiceReason]:
        """The reason of each requirement that is not met."""
        with pytest.raises(NotAvailable) as caught:
            self.registry.choose(requirements)
        return [unmet.reason for unmet in caught.value.unmet]

    def fail(self, service_id: str, times: int = 5) -> None:
        for _ in range(times):
            self.registry.report_failure(self.registry.get(service_id).ref)

    def state(self, service_id: str) -> InstanceState:
        return self.registry.status(service_id).state


def asr(service_id: str = "asr-1", **more: Any) -> RegisteredService:
    return RegisteredService(service_id, **{"type": "ASR", "endpoint": f"http://{service_id}.example/"} | more)


def asrs(count: int, **more: Any) -> list[RegisteredService]:
    return [asr(f"asr-{n + 1}", **more) for n in range(count)]


ANY_ASR = Requirement(type="ASR")
