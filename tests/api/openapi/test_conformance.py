"""The API conforms to its OpenAPI document: thousands of generated requests find no deviation."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from http_api.access.api_keys import KeyEntry, digest_of, new_key
from http_api.access.principals import Scope
from http_api.models.field_types import MONTH
from http_api.settings.settings import Settings
from manager_agent.outbound.address_policy import LOOPBACK
from tests.api.eager_services import decide_at_once
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api

HERE = Path(__file__).parent
SERVICES_FILE = """
services:
  - {service_id: asr-service, endpoint: "http://127.0.0.1:9/", metadata: {type: ASR}}
profiles:
  default: [asr-service]
"""


@dataclass(frozen=True, slots=True)
class SearchEffort:
    examples: int
    """Of each operation."""
    stateful_time: int
    """Seconds of sequences of requests."""
    cases_min: int


USUAL, LONG = SearchEffort(50, 20, 2_000), SearchEffort(150, 60, 5_000)


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> SearchEffort:
    return LONG if request.config.getoption("--long") else USUAL


@pytest.fixture
async def strict_api(start_api: StartApi, tmp_path: Path) -> tuple[Api, str]:
    """An API that needs a key, and the key; its limits are out of reach."""
    file, key = tmp_path / "services.yaml", new_key()
    file.write_text(SERVICES_FILE)
    many = dict.fromkeys(("rate_limit_burst", "sessions_per_caller", "sessions_max", "creates_in_flight"), 1_000_000)
    api = await start_api(
        Settings,
        server_host="127.0.0.1",
        livekit_api_key="devkey",
        livekit_api_secret="0123456789abcdef" * 2,
        api_keys=(KeyEntry("tester", digest_of(key), frozenset(Scope)),),
        invite_networks=LOOPBACK,
        callback_networks=LOOPBACK,
        services_file=file,
        ready_timeout=0.05,
        session_ttl=MONTH,
        rate_limit=100_000,
        **many,
    )
    decide_at_once(api.parts.store)
    return api, key


@dataclass(frozen=True, slots=True)
class Schemathesis:
    api: Api
    key: str
    folder: Path
    effort: SearchEffort

    async def run(self, phases: str, *more: str, seed: int = 1) -> int:
        """Run one process and return the number of its cases. Fails with its output if it finds something."""
        report = self.folder / f"{phases}-{seed}.json"
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml"),
            *("run", f"http://127.0.0.1:{self.api.port}/openapi.json", "--phases", phases, "--seed", str(seed)),
            *("--max-examples", str(self.effort.examples)),
            *("--report-json-path", str(report), "--no-color", *more),
            cwd=self.folder,
            env=os.environ | {"API_KEY": self.key, "CHECKS": str(HERE / "schemathesis_checks.py")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, said.decode()
        found: dict[str, Any] = json.loads(report.read_text())
        assert found["complete"]
        cases: int = found["test_cases"]["generated"]
        print(f"{phases}, seed {seed}: {cases} cases in {found['running_time']:.0f} s")
        return cases

    async def follow_links(self, seed: int) -> int:
        """Sequences of requests. An answer that differs when a sequence is tried again, as a live server's may, ends
        the search: it is begun anew until the time is up."""
        return await self.run("stateful", "--max-time", str(self.effort.stateful_time), seed=seed)

    async def cover_and_follow_links(self) -> int:
        return await self.run("examples,coverage") + await self.follow_links(seed=1)


@pytest.mark.timeout(900)
async def test_schemathesis_finds_no_deviation_from_the_document(
    strict_api: tuple[Api, str], tmp_path: Path, effort: SearchEffort
) -> None:
    """Two processes in parallel; on a slow machine more follow until there were enough cases."""
    schemathesis = Schemathesis(*strict_api, tmp_path, effort)
    cases = sum(await asyncio.gather(schemathesis.run("fuzzing"), schemathesis.cover_and_follow_links()))
    for seed in itertools.count(2):
        if cases >= effort.cases_min:
            break
        cases += await schemathesis.follow_links(seed)
