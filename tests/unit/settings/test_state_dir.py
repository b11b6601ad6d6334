"""The STATE_DIR of `session-manager serve` and scripts/run."""

from __future__ import annotations

from pathlib import Path

import pytest

from http_api.settings.settings import DevSettings
from http_api.settings.state_dir import with_state_dir

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("state_home", "expected"),
    [
        ("/var/lib/state", "/var/lib/state/session-manager/eu"),
        ("relative", "/home/alice/.local/state/session-manager/eu"),
        ("", "/home/alice/.local/state/session-manager/eu"),
        (None, "/home/alice/.local/state/session-manager/eu"),
    ],
)
def test_state_dir_is_the_users_own_for_each_deployment(
    monkeypatch: pytest.MonkeyPatch, state_home: str | None, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    if state_home is None:
        monkeypatch.delenv("XDG_STATE_HOME")
    else:
        monkeypatch.setenv("XDG_STATE_HOME", state_home)
    assert with_state_dir(DevSettings(deployment="eu", state_dir=None)).state_dir == Path(expected)


def test_state_dir_that_is_set_stays() -> None:
    settings = DevSettings(state_dir=Path("state"))
    assert with_state_dir(settings) is settings
