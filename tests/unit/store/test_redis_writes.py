"""How often a session asks Redis: one script for each write, whatever it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from manager_agent.redis.script import Script
from manager_agent.session import events as ev
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.store.replicas import READY, StoreReplica, StoreReplicas, a_session, all_caught_up

pytestmark = pytest.mark.unit

LIFE = [*READY, ev.SessionClosed(START + 9), ev.CleanUpStarted(START + 9), ev.CleanedUp(START + 9)]


def scripts_of(replica: StoreReplica, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The scripts that it runs from now on; without those that read what others changed."""
    ran: Counter[str] = Counter()
    run = replica.connection.run

    async def counting(script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        ran[script.name] += 1
        return await run(script, keys, args)

    monkeypatch.setattr(replica.connection, "run", counting)
    return ran


async def test_a_session_runs_a_script_for_each_write(replicas: StoreReplicas, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = await replicas.start(2)
    ran, ran_there = scripts_of(here, monkeypatch), scripts_of(there, monkeypatch)
    await here.store.add(a_session(service="asr"))
    for event in LIFE:
        await here.store.update("ses_1", event)
    await here.store.remove("ses_1")
    await all_caught_up(here, there)
    del ran["read_changes"], ran_there["read_changes"]
    assert ran.total() == 1 + len(LIFE) + 1
    assert not ran_there


async def test_an_event_that_changes_nothing_runs_no_script(
    replicas: StoreReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await replicas.start_one()
    await here.add(a_session(service="asr"))
    for event in READY:
        await here.update("ses_1", event)
    ran = scripts_of(here, monkeypatch)
    await here.store.update("ses_1", given.seen("sm-asr-1", "PA_1", START + 2))
    del ran["read_changes"]
    assert not ran
