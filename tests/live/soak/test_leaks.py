"""Sessions leave nothing behind: a process that has served many uses what it used before. In full: scripts/soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.conftest import Site
from tests.live.soak.figures import leaks
from tests.live.soak.observed_manager import LEAKS
from tests.live.soak.session_cycles import Mix, session_cycles

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

WARM_UP, MEASURED = 30, 50
LEAKING = 8
EXACT = {"PYTHONMALLOC": "malloc"}
"""malloc counts all memory, Python's too. Few cycles need an exact figure."""


async def test_sessions_that_are_over_leave_nothing_behind(silent_site: Site, tmp_path: Path) -> None:
    mix = Mix(joined=5, users=10)
    async with session_cycles(silent_site, tmp_path, mix, **EXACT) as (cycles, _):
        base = await cycles.warmed_up(WARM_UP)
        await cycles.run(MEASURED)
        last = await cycles.at_rest(base)
        assert cycles.failures == []
        assert list(leaks(base, last, memory="allocated")) == []


async def test_a_leak_is_found(silent_site: Site, tmp_path: Path) -> None:
    async with session_cycles(silent_site, tmp_path, Mix(), **EXACT, **{LEAKS: "1"}) as (cycles, _):
        await cycles.run(LEAKING)
        base = await cycles.figures()
        await cycles.run(LEAKING)
        found = [leak.partition(":")[0] for leak in leaks(base, await cycles.figures(), memory="allocated")]
        assert {"tasks", "threads", "files", "memory"} <= set(found)
