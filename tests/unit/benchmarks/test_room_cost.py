"""The table of what a managed room costs, when a design loses jobs or ends by itself."""

from __future__ import annotations

import pytest

from benchmarks.measuring import Footprint, Rest
from benchmarks.room_cost import BARE, DESIGNS, Cost, Join, table

pytestmark = pytest.mark.unit

_, THREAD, _, PLAIN, _, _, OURS = DESIGNS


def rest(at: float, pss_mb: float) -> Rest:
    return Rest(Footprint(at, pss_mb, processes=1, threads=9, cpu_s=at / 100), cores=0.01, peak_pss_mb=pss_mb)


JOINED, LOST = Join(0.0, 0.5), Join(0.0, None)


def test_a_design_that_ended_is_not_measured_and_one_that_lost_jobs_says_so() -> None:
    good = Cost(PLAIN, rest(0, 100), rest(10, 102), rest(20, 104), [JOINED], [JOINED])
    losing = Cost(OURS, rest(0, 100), rest(10, 102), rest(20, 104), [JOINED], [LOST])
    shown = table([(THREAD, None), (PLAIN, good), (OURS, losing)], callers=1)
    assert {figure.by for figure in shown.figures} == {BARE, OURS.title}
    found = {(figure.work, figure.by): figure.value for figure in shown.figures}
    assert found["jobs that never started", OURS.title] == 1
    assert found["create -> ACTIVE, p50 ms", BARE] == 500
    assert found["MB PSS per room, settled", BARE] == 2
    assert ("MB PSS per room, settled", OURS.title) not in found
