"""`session-manager token decode`: its output, and its exit codes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner, Result

from http_api.cli import app
from http_api.settings.settings import DevSettings, Settings

pytestmark = pytest.mark.unit

SECRET = "a-secret-of-at-least-thirty-two-characters"
FINE, NO, USAGE = 0, 1, 2


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read neither the secret nor .env of this machine."""
    monkeypatch.delenv("LIVEKIT_API_SECRET", raising=False)
    for kind in (Settings, DevSettings):
        monkeypatch.setitem(kind.model_config, "env_file", tmp_path / ".env")


def token(secret: str = SECRET, life: float = 600, algorithm: str = "HS256", **claims: Any) -> str:
    now = int(time.time())
    said = {
        "iss": "devkey",
        "sub": "alice",
        "nbf": now,
        "exp": now + life,
        "video": {"roomJoin": True, "room": "r[red]"},
    }
    return jwt.encode(said | claims, secret, algorithm=algorithm)


def decode(*arguments: str, stdin: str | None = None, **env: str) -> Result:
    return CliRunner().invoke(app, ["token", "decode", *arguments], input=stdin, env=env)


def test_token_decode_shows_claims_and_grants_and_the_expiry_in_words() -> None:
    said = decode(token())
    assert said.exit_code == FINE
    for words in ("alice", "video.roomJoin", "yes", "r[red]", "in 10 min"):
        assert words in said.stdout
    assert "not checked" in said.stderr


def test_token_decode_reads_the_token_from_stdin() -> None:
    for arguments in ([], ["-"]):
        assert "alice" in decode(*arguments, stdin=f"{token()}\n").stdout


def test_token_decode_checks_the_signature_with_the_configured_secret(tmp_path: Path) -> None:
    right = decode(token(), "--json", LIVEKIT_API_SECRET=SECRET)
    assert (right.exit_code, json.loads(right.stdout)["verified"]) == (FINE, True)
    wrong = decode(token(secret="another" * 9), "--json", LIVEKIT_API_SECRET=SECRET)
    assert (wrong.exit_code, json.loads(wrong.stdout)["verified"]) == (NO, False)
    (tmp_path / ".env").write_text(f"LIVEKIT_API_SECRET={SECRET}\n")
    assert json.loads(decode(token(), "--json").stdout)["verified"] is True


def test_token_decode_refuses_a_secret_in_quotes() -> None:
    """`docker --env-file` leaves them. It must not say that the token is signed with another secret."""
    said = decode(token(), LIVEKIT_API_SECRET=f'"{SECRET}"')
    assert (said.exit_code, "LIVEKIT_API_SECRET: is in quotes" in said.stderr) == (USAGE, True)
    assert SECRET not in said.output


def test_in_dev_mode_token_decode_checks_with_the_development_secret() -> None:
    said = decode(token(secret="secret"), "--dev", "--json")
    assert (said.exit_code, json.loads(said.stdout)["verified"]) == (FINE, True)


def test_without_a_secret_token_decode_does_not_judge_the_signature() -> None:
    assert json.loads(decode(token(), "--json").stdout)["verified"] is None


@pytest.mark.parametrize("algorithm", ["HS512", "none"])
def test_token_decode_accepts_only_the_algorithm_of_livekit(algorithm: str) -> None:
    made = token(secret="" if algorithm == "none" else SECRET * 2, algorithm=algorithm)
    said = decode(made, "--json", LIVEKIT_API_SECRET=SECRET * 2)
    assert (said.exit_code, json.loads(said.stdout)["verified"]) == (NO, False)


def test_an_expired_or_not_yet_valid_token_is_reported_as_unusable() -> None:
    expired = decode(token(life=-7200))
    assert (expired.exit_code, "expired 2 h ago" in expired.stderr) == (NO, True)
    early = decode(token(nbf=int(time.time()) + 600))
    assert (early.exit_code, "not valid for another 10 min" in early.stderr) == (NO, True)


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "eyJ.eyJ.x", "\x00", "é" * 50])
def test_token_decode_of_an_invalid_token_is_a_usage_error(text: str) -> None:
    said = decode("--json", stdin=text)
    assert said.exit_code == USAGE
    assert json.loads(said.stdout)["error"]["exit_code"] == USAGE
    assert decode(stdin=text).stderr.count("\n") == 1


def test_unusual_claims_are_shown_unchanged() -> None:
    """A token signed elsewhere need not have LiveKit's types."""
    odd = jwt.encode({"video": "all", "metadata": None, "iat": 1e300, "list": [1, {"a": 2}]}, SECRET)
    said = decode(odd)
    assert said.exit_code == FINE
    assert "1e+300" in said.stdout
