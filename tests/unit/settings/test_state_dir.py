"""The STATE_DIR of `session-manager serve` and scripts/run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

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
    state_dir = with_state_dir(DevSettings(deployment="eu", state_dir=None)).state_dir
    assert state_dir is not None
    assert str(state_dir).rpartition("-")[0] == expected


def state_dir_with(livekit_url: str) -> Path | None:
    return with_state_dir(DevSettings(livekit_server_url=livekit_url, state_dir=None)).state_dir


def test_state_dir_is_another_one_for_another_livekit_server() -> None:
    urls = "ws://a.example:7880", "ws://b.example:7880", "ws://a.example:7881", "ws://a.example:7880/below"
    assert len({state_dir_with(url) for url in urls}) == len(urls)
    assert state_dir_with("ws://A.example:7880/") == state_dir_with("http://a.example:7880")


def test_state_dir_that_is_set_stays() -> None:
    settings = DevSettings(state_dir=Path("state"))
    assert with_state_dir(settings) is settings


def test_replicas_that_share_a_redis_have_no_state_dir() -> None:
    settings = DevSettings(redis_url=SecretStr("redis://localhost"), state_dir=None)
    assert with_state_dir(settings).state_dir is None
