"""How a replica reaches Redis: its commands travel, answers get lost, and it reads the log a little later."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica

TIMEOUT = 2.0
"""Seconds without an answer after which Redis counts as away."""
NEAR = 0.0002, 0.0015
"""Seconds that each way takes."""
SLOW = 0.5
"""The most seconds that a slow Redis adds to each way."""

Away = Callable[[], None]


class RedisLink:
    def __init__(self, replica: SimulatedReplica) -> None:
        self._replica, self._world = replica, replica.world
        self._redis, self._heap = replica.world.redis, replica.world.heap
        self._random = replica.chances.random
        self.cut_until = -math.inf
        self.back_since = self._heap.now
        """Since when commands succeed; infinity while they do not."""
        self.read_lag = replica.chances.uniform(0.001, 0.02)
        """Seconds after which a change is read from the log."""
        self._read_until: float | None = None
        """Up to when the log was read before the link was cut."""

    def ask(self, command: Callable[[], Any], then: Callable[[Any], None], away: Away) -> None:
        """`away`: called if there is no answer; the command may have been carried out all the same."""
        self._heap.after(self._delay(), self._arrive, command, then, away)

    def _arrive(self, command: Callable[[], Any], then: Callable[[Any], None], away: Away) -> None:
        if self._heap.now < self.cut_until:
            self._replica.later(TIMEOUT, self._failed, away)
        elif self._redis.is_down:
            self._replica.later(0.05, self._failed, away)
        else:
            self._redis.commands += 1
            answer = command()
            self._heap.after(self._delay(), self._answered, self._redis.run, answer, then, away)

    def _answered(self, run: int, answer: Any, then: Callable[[Any], None], away: Away) -> None:
        if self._heap.now < self.cut_until:
            self._replica.later(TIMEOUT, self._failed, away)
        elif run != self._redis.run or self._redis.is_down:
            self._replica.call(self._failed, away)
        else:
            self._replica.call(self._succeeded, then, answer)

    def _succeeded(self, then: Callable[[Any], None], answer: Any) -> None:
        if self.back_since == math.inf:
            self.back_since = self._replica.thawed_at = self._heap.now
        then(answer)

    def _failed(self, away: Away) -> None:
        self.back_since = math.inf
        away()

    def _delay(self) -> float:
        delay = NEAR[0] + (NEAR[1] - NEAR[0]) * self._random()
        if self._heap.now < self._world.redis_slow_until:
            delay += SLOW * self._random()
        return delay

    # --- the log ---

    @property
    def is_cut(self) -> bool:
        return self._heap.now < self.cut_until

    def cut(self, until: float) -> None:
        if self._read_until is None:
            self._read_until = self._heap.now - self.read_lag
        self.cut_until = max(self.cut_until, until)
        self._heap.at(self.cut_until, self._replica.call, self._replica.read_anew)

    def has_read_anew(self) -> None:
        self._read_until = None

    @property
    def is_behind(self) -> bool:
        """Whether the log was not read on since the link was cut."""
        return self._read_until is not None

    @property
    def position(self) -> int:
        """How far the log was read."""
        until = self._heap.now - self.read_lag if self._read_until is None else self._read_until
        return self._redis.position_at(until)
