"""STATE_DIR as the program finds it at its start."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from manager_agent.records.sqlite_file import FILE
from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.processes import finished

pytestmark = pytest.mark.api


async def test_records_of_a_newer_version_stop_the_start_with_one_message(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as newer:
        newer.executescript("PRAGMA application_id = 0x4C4B534D; PRAGMA user_version = 7; CREATE TABLE other (a);")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "http_api", "--dev"),
        cwd=ROOT,
        env=os.environ | {"STATE_DIR": str(tmp_path), "SERVER_PORT": str(free_port()), "LOG_LEVEL": "error"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await finished(process, "the refused start")
    [line] = said.decode().splitlines()
    assert process.returncode == 2
    assert line.startswith(f"{tmp_path / FILE} (STATE_DIR) was written by a newer version")
