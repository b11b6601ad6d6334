"""The benchmarks of Redis and replicas still run, in short: their figures mean nothing here."""

from __future__ import annotations

import pytest

from benchmarks import redis_growth, redis_session, redis_update, replicas
from benchmarks.result import Compared

pytestmark = pytest.mark.live


@pytest.mark.parametrize("at_once", [1, redis_update.AT_ONCE])
async def test_an_update_is_compared_with_the_bare_client(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_update, "PER_ROUND", redis_update.AT_ONCE)
    rows = await redis_update.measure(at_once, rounds=1)
    shown = redis_update.table(at_once, rows)
    assert [len(row.took) for row in rows] == [redis_update.AT_ONCE] * 3
    assert all(shown.compared(figure, Compared.RATIO) for figure in shown.figures)


async def test_a_sessions_life_in_redis_is_counted() -> None:
    costs = await redis_session.measure(3)
    assert all(cost.use.commands > 3 * cost.writes and cost.kept and cost.told for cost in costs)
    assert len({figure.by for figure in redis_session.table(costs).figures}) == 3


async def test_growth_is_measured_at_each_size() -> None:
    grown = await redis_growth.measure((20, 40), trials=3)
    assert [one.sessions for one in grown] == [20, 40]
    assert "update, ms, p50" in {figure.work for figure in redis_growth.table(grown).figures}


async def test_replicas_are_compared_with_one_process_in_memory() -> None:
    measured = await replicas.measure([2], seconds=3.0, callers=2)
    assert [one.name for one in measured] == ["in memory", "2 replicas"]
    assert all(one.took and not one.failed for one in measured)
    assert replicas.check(measured).passed
