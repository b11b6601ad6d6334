"""scripts/run, and every command of the README and docs/services.md."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from http_api.settings.settings import Settings
from scripts.free_ports import free_port, require_free
from scripts.repository import ROOT
from tests.documents import code_in
from tests.processes import ended, finished
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live

README, README_ZH, SERVICES = "README.md", "README.zh.md", "docs/services.md"
SETTINGS, SETTINGS_ZH = "docs/settings.md", "docs/settings.zh.md"


def commands(page: str) -> list[list[str]]:
    """The commands of the `sh` blocks, each split into words as a shell does, comments left out."""
    text = re.sub(r"\s+# .*", "", "\n".join(code_in(page, "sh"))).replace("\\\n", " ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars="\n")
    lexer.whitespace, lexer.whitespace_split = " \t", True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) == {"\n"}:
            found.append([])
        else:
            found[-1].append(word)
    return [command for command in found if command]


@dataclass
class DemoRun:
    """scripts/run, serving on ports of its own."""

    server_port: int = field(default_factory=free_port)
    livekit_port: int = field(default_factory=free_port)
    output: str = ""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SERVER_PORT": str(self.server_port), "LIVEKIT_PORT": str(self.livekit_port)}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it while inside; at the end it gets Ctrl-C if it still runs."""
        process = await asyncio.create_subprocess_exec(
            ROOT / "scripts" / "run",
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,
        )
        assert process.stdout is not None
        try:
            async with waiting_for("scripts/run to serve", lambda: self.output):
                while "Serving on" not in self.output:
                    line = await process.stdout.readline()
                    assert line, f"scripts/run ended:\n{self.output}"
                    self.output += line.decode()
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            self.output += (await finished(process, "scripts/run", lambda: self.output))[0].decode()


async def curl(run: DemoRun, command: list[str]) -> Any:
    """Run a documented curl command against this server and return the answer, which must be a 2xx."""
    moved = [word.replace("localhost:8080", f"localhost:{run.server_port}") for word in command]
    process = await asyncio.create_subprocess_exec(
        *(*moved, "--write-out", "\n%{http_code}"), stdout=asyncio.subprocess.PIPE
    )
    body, _, status = (await finished(process, shlex.join(moved)))[0].decode().rpartition("\n")
    assert status.startswith("2"), f"{shlex.join(moved)}\n{status} {body}"
    return json.loads(body)


async def test_scripts_run_shows_a_session_and_leaves_nothing_behind() -> None:
    run = DemoRun()
    async with run.serving() as process:
        for step in (
            "asr-service  invited",
            "llm-service  joined",
            "tts-service  ready",
            "ready: the token",
            "curl -s ",
        ):
            assert step in run.output
        assert '"sub": "alice"' in run.output
        children = psutil.Process(process.pid).children(recursive=True)
        [folder] = re.findall(r"logs in\s+(\S+)", run.output)
        assert Path(folder).is_dir()
    assert process.returncode == 0, run.output
    assert run.output.endswith("Stopping.\n")
    assert [line for line in run.output.splitlines() if re.search(r"retry|warning|Traceback", line)] == []
    assert [child for child in children if child.is_running()] == []
    assert not Path(folder).exists()
    require_free(run.server_port, "SERVER_PORT")
    require_free(run.livekit_port, "LIVEKIT_PORT")


@pytest.mark.parametrize(("taken", "variable"), [("server_port", "SERVER_PORT"), ("livekit_port", "LIVEKIT_PORT")])
def test_scripts_run_names_the_variable_of_a_port_in_use(taken: str, variable: str) -> None:
    run = DemoRun()
    with socket.create_server(("127.0.0.1", getattr(run, taken))):
        done = subprocess.run([ROOT / "scripts" / "run"], env=run.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert str(getattr(run, taken)) in done.stderr
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


async def test_documented_commands_work(tmp_path: Path) -> None:
    """The first request and the shape of its answer, all other commands, and the service in ten lines."""
    run = DemoRun()
    async with run.serving():
        first, *others = [c for page in (README, SERVICES) for c in commands(page) if c[0] == "curl"]
        session = await curl(run, first)
        shown = json.loads(code_in(README, "json")[0])
        assert set(session) == set(shown)
        assert set(session["services"][0]) == set(shown["services"][0])
        assert session["state"] == "ready"
        for command in others:
            await curl(run, command)
        async with aiohttp.ClientSession(run.url) as http, http.post("/api/v1/token") as given:
            assert given.status == 201, await given.text()  # the profile `default` of scripts/run
        [ten_lines] = code_in(README, "python")
        await serve_and_use(run, ten_lines, tmp_path / "my_service.py")


async def serve_and_use(run: DemoRun, code: str, script: Path) -> None:
    """Start the README's service and create a session that requires it."""
    script.write_text(code)
    environment = os.environ | {"SESSION_MANAGER_URL": run.url, "PYTHONPATH": str(ROOT), "SERVICE_DRAIN_TIMEOUT": "0"}
    service = await asyncio.create_subprocess_exec(sys.executable, script, env=environment)
    try:
        async with aiohttp.ClientSession(run.url) as http:

            async def endpoint() -> str:
                async with http.get("/api/v1/microservices/my-service") as known:
                    return str((await known.json()).get("endpoint"))

            documented = ("None", "http://localhost:9000/")
            await eventually("the README's service", endpoint, lambda found: found not in documented, every=0.05)
            body = {"user_identity": "alice", "required_services": ["my-service"]}
            async with http.post("/api/v1/sessions", json=body) as answer:
                assert answer.status == 201, await answer.text()
    finally:
        service.terminate()
        await ended(service, "the README's service")


def test_scripts_named_in_the_readme_exist() -> None:
    named = {command[0] for command in commands(README) if command[0].startswith("scripts/")}
    assert named == {"scripts/run", "scripts/test"}
    assert all(os.access(ROOT / script, os.X_OK) for script in named)


def test_both_readmes_have_the_same_commands_and_settings() -> None:
    assert commands(README_ZH) == commands(README)
    assert code_in(README_ZH, "python") == code_in(README, "python")
    assert set(table_of_settings(README_ZH)) == set(table_of_settings(README))


def test_tables_of_settings_are_complete_and_list_each_once() -> None:
    assert sorted(table_of_settings(SETTINGS)) == sorted(name.upper() for name in Settings.model_fields)
    assert list(table_of_settings(SETTINGS_ZH)) == list(table_of_settings(SETTINGS))


def test_the_readme_lists_only_settings_that_exist() -> None:
    assert set(table_of_settings(README)) <= set(table_of_settings(SETTINGS))


def table_of_settings(page: str) -> Iterator[str]:
    """The variables in the first column of the tables of settings."""
    for row in re.findall(r"^\| (`[A-Z].*?) \|", (ROOT / page).read_text(), re.MULTILINE):
        yield from re.findall(r"`([A-Z_]+)`", row)
