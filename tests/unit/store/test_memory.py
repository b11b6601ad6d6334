"""The store of one process: what those of several can't promise."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.session.session import SessionState
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.virtual_time import VirtualClock
from tests.unit.waits import let_others_run

pytestmark = pytest.mark.unit


async def test_waiters_do_not_see_a_state_that_passes_within_one_loop_turn(clock: VirtualClock) -> None:
    """They get what is, not what was: a token is not given for a readiness that has passed."""
    store = MemoryStore(clock)
    await store.add(given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(0)))
    task = asyncio.create_task(store.wait_for("s1", lambda session: session.state is SessionState.READY))
    await let_others_run()
    await store.update("s1", given.seen("sm-asr-1", "PA_1", START + 1))
    await store.update("s1", given.left("sm-asr-1", "PA_1", START + 2))
    await let_others_run()
    assert not task.done()
    await store.update("s1", given.seen("sm-asr-1", "PA_2", START + 3))
    assert (await task).state is SessionState.READY
