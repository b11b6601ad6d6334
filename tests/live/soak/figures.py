"""What a session manager uses at one moment, and the verdict over several of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

GROWTH_MAX = 20 * 1024
"""Bytes of memory a cycle."""
COUNTED = "tasks", "threads", "files"


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """When no session is left. Memory in bytes."""

    cycles: int
    failed: int
    """Cycles that did not go as they should."""
    seconds: float
    uss: int
    """Memory of this process alone."""
    pss: int
    allocated: int
    """What malloc has given out and not got back: the SDK's native side and large Python objects; with
    PYTHONMALLOC=malloc all Python objects."""
    objects: int
    """Python objects that the garbage collector knows."""
    tasks: int
    threads: int
    files: int
    rooms: int

    def growth_since(self, earlier: ResourceUse, memory: str = "uss") -> float:
        """Bytes a cycle."""
        return float(getattr(self, memory) - getattr(earlier, memory)) / max(self.cycles - earlier.cycles, 1)

    def is_back_at(self, base: ResourceUse) -> bool:
        return self.rooms == 0 and all(getattr(self, name) <= getattr(base, name) for name in COUNTED)


def leaks(base: ResourceUse, last: ResourceUse, memory: str = "uss") -> Iterator[str]:
    """What is lost from cycle to cycle, and how many cycles failed, one line each; nothing if all is well.

    `memory`: the figure that may not grow. `uss` varies by megabytes with what the allocators keep for later,
    `allocated` does not."""
    for name in COUNTED:
        before, after = getattr(base, name), getattr(last, name)
        if after > before:
            yield f"{name}: {before} after {base.cycles} cycles, {after} after {last.cycles}"
    if last.failed:
        yield f"cycles: {last.failed} of {last.cycles} failed"
    if last.rooms:
        yield f"rooms: {last.rooms} are left"
    growth = last.growth_since(base, memory)
    if growth > GROWTH_MAX:
        yield f"memory: {growth / 1024:.1f} KiB a cycle, {GROWTH_MAX / 1024:.0f} are allowed"
