"""`session-manager config` and `key new`: settings with their sources, and new API keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from http_api.access.api_keys import digest_of, entry_of, read_api_keys
from http_api.access.principals import Scope
from http_api.cli import app
from http_api.settings.settings import DevSettings, Settings

pytestmark = pytest.mark.unit

SECRET = "a-secret-that-nobody-may-see-at-all"
FINE, USAGE = 0, 2


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read neither the environment nor .env of this machine."""
    for name in (*Settings.model_fields, "livekit_url"):
        monkeypatch.delenv(name.upper(), raising=False)
    for kind in (Settings, DevSettings):
        monkeypatch.setitem(kind.model_config, "env_file", tmp_path / ".env")


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, arguments, env=env)


def listed(*arguments: str, **env: str) -> dict[str, dict[str, Any]]:
    said = run("config", "--json", *arguments, **env)
    assert said.exit_code == FINE, said.output
    return {setting["name"]: setting for setting in json.loads(said.stdout)["settings"]}


def test_config_lists_every_setting_with_its_description() -> None:
    settings = listed("--dev")
    assert settings.keys() == {name.upper() for name in Settings.model_fields}
    assert [name for name, setting in settings.items() if not setting["purpose"]] == []


def test_config_shows_where_each_value_comes_from(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SERVER_PORT=1\nREADY_TIMEOUT=2.5\n")
    settings = listed("--dev", SERVER_PORT="2", LIVEKIT_URL="ws://livekit")
    seen = {name: (settings[name]["value"], settings[name]["source"], settings[name]["default"]) for name in (
        "SERVER_PORT", "READY_TIMEOUT", "LIVEKIT_SERVER_URL", "SERVER_HOST", "SERVICES_FILE",
        "VECTOR_LOG_ENABLED", "VECTOR_LOG_ENDPOINT",
    )}  # fmt: skip
    assert seen == {
        "SERVER_PORT": ("2", "environment", "8080"),
        "READY_TIMEOUT": ("2.5", ".env", "30"),
        "LIVEKIT_SERVER_URL": ("ws://livekit", "environment", "ws://localhost:7880"),
        "SERVER_HOST": ("127.0.0.1", "default", "127.0.0.1"),
        "SERVICES_FILE": (None, "default", None),
        "VECTOR_LOG_ENABLED": ("false", "default", "false"),
        "VECTOR_LOG_ENDPOINT": ("http://localhost:8686", "default", "http://localhost:8686"),
    }


def test_config_shows_a_blank_variable_as_not_set() -> None:
    assert listed("--dev", SERVER_PORT="")["SERVER_PORT"]["source"] == "default"


def test_config_names_a_misspelt_setting() -> None:
    said = run("config", "--dev", SESSION_TTLL="60")
    assert (said.exit_code, "SESSION_TTLL has no effect: is SESSION_TTL meant?" in said.stderr) == (FINE, True)
    assert json.loads(run("config", "--dev", "--json", SESSION_TTLL="60").stdout)["misspelt"] == {
        "SESSION_TTLL": "SESSION_TTL"
    }


def test_config_shows_no_secret() -> None:
    digest = digest_of("sm_x")
    env = {
        "LIVEKIT_API_KEY": "key",
        "LIVEKIT_API_SECRET": SECRET,
        "INVITE_API_KEY": "invites",
        "INVITE_API_SECRET": f"{SECRET}-2",
        "API_KEYS": f"bob:{digest}:metrics",
        "CALLBACK_URLS": f"bob=https://example.com/{SECRET}",
        "VECTOR_LOG_ENDPOINT": f"https://shipper:{SECRET}@vector",
    }
    for arguments in ([], ["--json"]):
        said = run("config", *arguments, **env)
        assert said.exit_code == FINE, said.output
        assert SECRET not in said.output
        assert digest not in said.output
    settings = listed(**env)
    assert settings["API_KEYS"]["value"] == "bob:(hidden):metrics"
    assert settings["CALLBACK_URLS"]["value"] == "bob=(hidden)"


def test_config_names_all_invalid_settings() -> None:
    said = run("config", SERVER_PORT="no", READY_TIMEOUT=SECRET)
    assert said.exit_code == USAGE
    for name in ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "SERVER_PORT", "READY_TIMEOUT"):
        assert name in said.stderr
    assert SECRET not in said.output
    document = json.loads(run("config", "--json", SERVER_PORT="no").stdout)
    assert document["error"]["exit_code"] == USAGE


def test_config_names_a_dotenv_file_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SERVER_PORT=\xff\xfe")
    said = run("config", "--dev")
    assert (said.exit_code, ".env" in said.stderr) == (USAGE, True)


@pytest.mark.parametrize(
    ("options", "scopes"),
    [
        ([], {Scope.SESSIONS, Scope.SERVICES}),
        (["--scope", "metrics", "--scope", "admin"], {Scope.METRICS, Scope.ADMIN}),
    ],
)
def test_a_new_api_key_is_accepted_by_the_server(options: list[str], scopes: set[Scope]) -> None:
    made = json.loads(run("key", "new", "bob", *options, "--json").stdout)
    assert made["key"].startswith("sm_")
    assert len(made["key"]) == 46
    entry = entry_of(read_api_keys(f"alice:{'0' * 64},{made['entry']}"), made["key"])
    assert entry is not None
    assert entry.name == "bob"
    assert set(entry.scopes) == scopes
    assert made["scopes"] == sorted(scopes)


def test_two_new_api_keys_differ() -> None:
    assert json.loads(run("key", "new", "bob", "--json").stdout) != json.loads(
        run("key", "new", "bob", "--json").stdout
    )


def test_a_new_api_key_is_shown_once_and_is_not_in_its_entry() -> None:
    said = run("key", "new", "bob")
    key, entry = said.stdout.splitlines()  # the text around them is on stderr
    assert key.startswith("sm_")
    assert entry == f"bob:{digest_of(key)}"
    assert said.stdout.count(key) == 1


@pytest.mark.parametrize("name", ["", "a b", "-x", "a:b", "a,b", "x" * 64, "dev"])
def test_key_new_refuses_an_invalid_caller_name(name: str) -> None:
    said = run("key", "new", "--", name)
    assert said.exit_code == USAGE
    assert "NAME" in said.stderr


def test_key_new_refuses_an_unknown_scope() -> None:
    assert run("key", "new", "bob", "--scope", "everything").exit_code == USAGE
