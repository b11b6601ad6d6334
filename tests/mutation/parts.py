"""The parts whose tests are tested, each with the unit tests that belong to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from scripts.repository import ROOT


class MutatedPart(NamedTuple):
    code: tuple[str, ...]
    """Files and folders."""
    tests: tuple[str, ...]

    def files(self, only: str = "") -> Iterator[str]:
        """Its modules, or the one with that name."""
        for name in self.code:
            path = ROOT / name
            for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
                if only in ("", file.stem):
                    yield str(file.relative_to(ROOT))


REGISTRY, LIMITS = "manager_agent/registry", "http_api/limits"
CHOOSING = ("instances", "matching", "ranking", "selection", "service_index")
PURE_OF_REGISTRY = ("circuit_breaker", "due_times", "leases", *CHOOSING)
# Only tests that start no process: a mutant's tests end at the first that fails, and would leave it behind.
PARTS = {
    "session": MutatedPart(("manager_agent/session",), ("tests/unit/session",)),
    "registry": MutatedPart(
        tuple(f"{REGISTRY}/{name}.py" for name in PURE_OF_REGISTRY),
        tuple(f"tests/unit/registry/test_{name}.py" for name in (*PURE_OF_REGISTRY, "registry", "services")),
    ),
    "messages": MutatedPart(("manager_agent/messages.py",), ("tests/unit/test_messages.py",)),
    "limits": MutatedPart(
        tuple(f"{LIMITS}/{name}.py" for name in ("gcra", "idempotency_store", "waiters")),
        tuple(f"tests/unit/limits/test_{name}.py" for name in ("gcra", "idempotency_store", "waiters")),
    ),
    "addresses": MutatedPart(
        ("manager_agent/outbound/address_policy.py",), ("tests/unit/outbound/test_address_policy.py",)
    ),
}
