"""Generators of API clients take the OpenAPI document without a warning, and their clients work."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import jwt
import pytest

from scripts.client_generators import ENVIRONMENT, NODE, ensure
from tests.api.stand_ins import Api
from tests.prerequisites import prerequisite

pytestmark = [pytest.mark.api, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
PYTHON = ENVIRONMENT / "bin" / "python"
TSC = (
    *("tsc", "--noEmit", "--strict"),
    *("--target", "es2022", "--lib", "es2022,dom,dom.iterable", "--module", "esnext", "--moduleResolution", "bundler"),
)


@pytest.fixture(scope="module", autouse=True)
def generators() -> None:
    with prerequisite():
        ensure()


class Workshop:
    """A folder with the OpenAPI document of a running API, in which programs run."""

    def __init__(self, folder: Path, api: Api) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{api.port}"
        claims = {"iss": api.parts.settings.livekit_api_key, "exp": 2**33, "video": {"roomCreate": True}}
        self.key = jwt.encode(claims, "secret")
        self._environment = os.environ | {
            "PATH": os.pathsep.join([str(NODE / "node_modules" / ".bin"), str(PYTHON.parent), os.environ["PATH"]]),
            "MYPYPATH": str(folder),
            "NO_COLOR": "1",
        }

    async def run(self, *command: str | Path) -> str:
        """Run a command and return its output. Fails if the command fails."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, output.decode()
        return output.decode()

    def works(self, output: str) -> None:
        """Check what a client printed about the session that it created and read."""
        answers = json.loads(output)
        assert answers["created"] == answers["read"]
        assert answers["created"].startswith("ses_")
        assert answers["metadata"] == {"nested": {"list": [1, None]}}
        assert answers["token"].count(".") == 2
        assert answers["problem"] == "urn:problem-type:session-manager:service_not_available"

    async def compile_and_run(self, script: str) -> None:
        """Check the types of a client's TypeScript program, and run it."""
        shutil.copy(NODE / script, self.folder)
        (self.folder / "package.json").write_text(json.dumps({"type": "module"}))
        await self.run(*TSC, script)
        await self.run("esbuild", script, "--bundle", "--platform=node", "--format=esm", "--outfile=client.js")
        self.works(await self.run("node", "client.js", self.url))


@pytest.fixture
async def workshop(api: Api, tmp_path: Path) -> Workshop:
    async with api.http.get("/openapi.json") as answer:
        (tmp_path / "openapi.json").write_bytes(await answer.read())
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    return Workshop(tmp_path, api)


async def test_openapi_python_client_generates_a_client_that_works(workshop: Workshop) -> None:
    said = await workshop.run(
        *("openapi-python-client", "generate", "--path", "openapi.json"),
        *("--output-path", "generated", "--meta", "none", "--fail-on-warning"),
    )
    assert said.split() == ["Generating", "generated"]
    script = shutil.copy(HERE / "with_openapi_python_client.py", workshop.folder)
    strictly = ("--strict", "--follow-imports", "silent", "--cache-dir", workshop.folder / "types")
    await workshop.run(sys.executable, "-m", "mypy", *strictly, "--python-executable", PYTHON, script)
    workshop.works(await workshop.run(PYTHON, "-W", "error", script, workshop.url, workshop.key))


async def test_openapi_typescript_generates_types_of_a_client_that_works(workshop: Workshop) -> None:
    said = await workshop.run("openapi-typescript", "openapi.json", "--output", "openapi-typescript.ts")
    assert "warn" not in said.lower()
    await workshop.compile_and_run("with_openapi_typescript.ts")


async def test_hey_api_openapi_ts_generates_a_client_that_works(workshop: Workshop) -> None:
    said = await workshop.run(
        *("openapi-ts", "--input", "openapi.json", "--output", "openapi-ts", "--client", "@hey-api/client-fetch")
    )
    assert "warn" not in said.lower()
    await workshop.compile_and_run("with_openapi_ts.ts")
