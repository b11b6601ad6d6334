"""The `session-manager` command as a whole: help, exit codes, and error lines instead of tracebacks."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from http_api import VERSION
from http_api.cli import app
from http_api.cli.exits import MEANINGS, CommandError, ExitCode, run
from http_api.cli.progress import Progress, steps_of
from http_api.settings.complaint import BadSettings
from scripts.repository import ROOT
from session_manager_client import ApiError, Unreachable
from session_manager_client.models import RequiredServiceInfo, SessionInfo

pytestmark = pytest.mark.unit

COMMANDS = [
    [], ["serve"], ["services"], ["sessions"], ["create"], ["watch"], ["timeline"], ["config"], ["doctor"],
    ["token"], ["token", "decode"], ["key"], ["key", "new"],
]  # fmt: skip
TALKING = [["services"], ["sessions"], ["create"], ["watch"], ["watch", "ses_1"], ["timeline", "ses_1"]]
HEAVY = ("livekit", "aiohttp", "pydantic")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_its_exit_codes(command: list[str]) -> None:
    said = CliRunner().invoke(app, [*command, "--help"])
    assert said.exit_code == ExitCode.OK
    words = " ".join(said.stdout.split())
    assert "Usage:" in words
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in words


def test_version_names_what_a_report_needs() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert said.exit_code == ExitCode.OK
    packages = ("livekit", "livekit-agents")
    libraries = "".join(f"{name} {version(name)}, " for name in packages)
    assert said.stdout == f"session-manager {VERSION} ({libraries}Python {platform.python_version()})\n"


def test_the_cli_reference_lists_every_command_and_exit_code() -> None:
    told = (ROOT / "docs" / "cli.md").read_text()
    for command in COMMANDS:
        assert f"session-manager {' '.join(command)}".strip() in told
    for code in ExitCode:
        assert f"| {code.value} | {MEANINGS[code]}" in told


def test_help_does_not_import_what_only_commands_need() -> None:
    script = f"""
import sys
from http_api import VERSION
from http_api.cli import app
try: app(["--help"])
except SystemExit: pass
assert not [name for name in {HEAVY} if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"session-manager": "http_api.cli:main"}


@pytest.mark.parametrize("command", TALKING, ids=" ".join)
def test_an_invalid_url_is_a_usage_error(command: list[str]) -> None:
    said = CliRunner().invoke(app, [*command, "--url", "localhost"])
    assert (said.exit_code, said.stdout) == (ExitCode.USAGE, "")
    assert said.stderr.startswith("session-manager: --url: ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["create", "--timeout", "soon"], ["sessions", "--limit", "0"]])
def test_an_unknown_command_is_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == ExitCode.USAGE


async def fails(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ApiError(424, title="No"), ExitCode.FAILED),
        (BadSettings("wrong"), ExitCode.USAGE),
        (CommandError("wrong"), ExitCode.USAGE),
        (Unreachable("nobody"), ExitCode.UNREACHABLE),
        (KeyError("a bug"), ExitCode.INTERNAL_ERROR),
    ],
)
def test_every_failure_prints_one_line_and_has_an_exit_code(
    error: Exception, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        run(fails(error), as_json=False)
    out, err = capsys.readouterr()
    assert (ended.value.exit_code, out) == (code, "")
    assert err.startswith("session-manager: ")
    assert err.count("\n") == 1
    with pytest.raises(typer.Exit):
        run(fails(error), as_json=True)
    out, err = capsys.readouterr()
    assert (json.loads(out)["error"]["exit_code"], err) == (code, "")


def test_session_progress_shows_each_step_once_in_order_of_time() -> None:
    seconds = iter(range(10))

    def service(name: str | None, attempt: int, *steps: str, type: str | None = None) -> RequiredServiceInfo:
        timeline = {step: f"2026-01-01T00:00:0{next(seconds)}.000Z" for step in steps}
        return RequiredServiceInfo(
            service_id=name, type=type, state="joined", optional=False, reason=None, attempt=attempt,
            timeline=timeline,
        )  # fmt: skip

    first = service("asr-service", 1, "invited", "accepted")
    later = service("asr-service", 2, "invited", "joined", "ready")
    console = Console(record=True, width=200)
    progress = Progress(console)
    for services in ([first, service(None, 0, type="LLM")], [first], [later]):
        assert progress.lacks_attempts(view(services)) == (services == [later])
        progress.show(view(services))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines == [
        ["0", "ms", "asr-service", "invited"],
        ["1000", "ms", "asr-service", "accepted"],
        ["2000", "ms", "asr-service", "invited", "(attempt", "2)"],
        ["3000", "ms", "asr-service", "joined", "(attempt", "2)"],
        ["4000", "ms", "asr-service", "ready", "(attempt", "2)"],
    ]
    assert [step.ms for step in steps_of(view([later, first]))] == [0, 1000, 2000, 3000, 4000]


def view(services: list[RequiredServiceInfo]) -> SessionInfo:
    made = "2026-01-01T00:00:00.000Z"
    return SessionInfo(
        session_id="ses_1", room_name="room", state="waiting", user_identity="alice", user_name="",
        metadata={}, services=services, created_at=made, ready_at=None, ready_deadline=made, ended_at=None,
        reason=None, revision=1,
    )  # fmt: skip
