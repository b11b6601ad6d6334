"""The settings of a service: arguments win over the environment, and all errors are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service_kit import ServiceSettings

pytestmark = pytest.mark.unit

ELSEWHERE = "https://manager.example.com"
KEYS = {"invite_api_key": "key", "invite_api_secret": "s3cret"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read neither the environment nor .env of this machine."""
    for name in ServiceSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_on_one_machine_a_service_needs_no_settings() -> None:
    settings = ServiceSettings()
    assert settings.invite_keys == ("devkey", "secret")
    assert settings.endpoint(8101, "/") == "http://127.0.0.1:8101/"


def test_service_settings_are_read_from_environment_and_arguments_win(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("INVITE_API_KEY=key\nINVITE_API_SECRET=s3cret\nSERVICE_PORT=1\nSERVER_PORT=8080\n")
    monkeypatch.setenv("SERVICE_PORT", "2")
    assert ServiceSettings().service_port == 2
    settings = ServiceSettings.from_command_line(["--port", "3", "--manager", "http://localhost:9"])
    assert (settings.service_port, settings.session_manager_url) == (3, "http://localhost:9")
    assert settings.invite_keys == ("key", "s3cret")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"session_manager_url": ELSEWHERE, "service_endpoint": "http://asr"},
            "INVITE_API_KEY and INVITE_API_SECRET are",
        ),
        ({"session_manager_url": ELSEWHERE, **KEYS}, "SERVICE_ENDPOINT is required"),
        ({"session_manager_url": ELSEWHERE, "service_host": "0.0.0.0", **KEYS}, "SERVICE_ENDPOINT is required"),
        ({"service_host": "0.0.0.0"}, "SERVICE_ENDPOINT is required"),
        ({"service_host": "0.0.0.0", "service_endpoint": "http://asr"}, "everyone knows those of dev mode"),
        ({"service_endpoint": "https://asr.example.com/invites"}, "everyone knows those of dev mode"),
        (
            {"service_host": "10.0.0.1", "invite_api_key": "own", "invite_api_secret": "secret"},
            "everyone knows those of dev mode",
        ),
        ({"service_port": '"8101"'}, "is in quotes"),
        ({"invite_api_key": "'key'", "invite_api_secret": "x"}, "is in quotes"),
        ({"session_manager_url": "localhost:8080"}, "SESSION_MANAGER_URL must be"),
        ({"invite_api_key": "key"}, "must be set together"),
        ({"invite_api_secret": "s3cret"}, "must be set together"),
        ({"service_port": 70_000}, "service_port"),
        ({"session_manager_api_key": "s3cret key"}, "session_manager_api_key"),
        ({"session_manager_api_key": "s3cret\r\nX-Header: 1"}, "session_manager_api_key"),
    ],
)
def test_contradictory_service_settings_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as raised:
        ServiceSettings(**values)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_every_loopback_host_counts_as_this_machine(host: str) -> None:
    assert ServiceSettings(session_manager_url=f"http://{host}:8080").invite_keys == ("devkey", "secret")


def test_the_command_line_of_a_service_names_invalid_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ServiceSettings.from_command_line(["--port", "many"])
    assert "SERVICE_PORT: Input should be a valid integer" in capsys.readouterr().err


def test_the_repr_of_service_settings_shows_no_secret() -> None:
    settings = ServiceSettings(**KEYS, session_manager_api_key="s3cret")  # type: ignore[arg-type]
    assert "s3cret" not in repr(settings)
    assert settings.api_key == "s3cret"


def test_the_livekit_url_of_the_service_itself_is_normalized() -> None:
    assert ServiceSettings().service_livekit_url is None
    assert ServiceSettings(service_livekit_url="http://livekit:7880/").service_livekit_url == "ws://livekit:7880"
    with pytest.raises(ValidationError, match="query"):
        ServiceSettings(service_livekit_url="ws://livekit:7880/?a=b")
