"""The benchmarks of Redis and replicas still run, in short: their figures mean nothing here."""

from __future__ import annotations

import pytest

from benchmarks import redis_growth, redis_session, redis_update, replicas

pytestmark = pytest.mark.live


@pytest.mark.parametrize("at_once", [1, redis_update.AT_ONCE])
async def test_an_update_is_compared_with_the_bare_client(
    at_once: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_update, "PER_ROUND", redis_update.AT_ONCE)
    rows = await redis_update.measure(at_once, rounds=1)
    redis_update.show(at_once, rows)
    assert [len(row.took) for row in rows] == [redis_update.AT_ONCE] * 3
    assert redis_update.FLOOR in capsys.readouterr().out


async def test_a_sessions_life_in_redis_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    costs = await redis_session.measure(3)
    redis_session.show(3, costs)
    assert all(cost.use.commands > 3 * cost.writes and cost.kept and cost.told for cost in costs)
    assert "KiB sent to Redis" in capsys.readouterr().out


async def test_growth_is_measured_at_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    grown = await redis_growth.measure((20, 40), trials=3)
    redis_growth.show(grown)
    assert [one.sessions for one in grown] == [20, 40]
    assert "update, ms, p50" in capsys.readouterr().out


async def test_replicas_are_compared_with_one_process_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    measured = await replicas.measure([2], seconds=3.0, callers=2)
    replicas.show(2, measured)
    assert [one.name for one in measured] == ["in memory", "2 replicas"]
    assert all(one.took and not one.failed for one in measured)
    assert "2 replicas" in capsys.readouterr().out
