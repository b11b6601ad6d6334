"""The sessions of a run have what its moments need."""

from __future__ import annotations

from random import Random

import pytest

from tests.chaos.scripts_of_sessions import scripts

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("seed", range(50))
def test_every_run_has_two_users_a_guest_a_renewed_token_a_failure_and_an_end(seed: int) -> None:
    drawn = scripts(Random(seed), 1)
    assert [script.number for script in drawn] == [1, 2, 3, 4]
    assert sum(script.user_joins for script in drawn) >= 2
    assert any(script.invites_guest for script in drawn)
    assert any(script.renews_token for script in drawn)
    assert any(entry.failure is not None for script in drawn for entry in script.entries)
    assert any(script.lasts is not None for script in drawn)
