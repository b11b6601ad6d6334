"""A real OpenTelemetry Collector, built from tests/collector, that takes OTLP over HTTP and prints what came.

The fixture `otel_collector` starts one for a test. `python -m tests.otel_collector --ensure` builds it beforehand, as
building may take minutes and a test may not. Without Go there is none: the tests that want it are skipped, but in CI.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import aiohttp
import pytest
import yaml

from scripts.free_ports import free_port
from scripts.livekit_build import BUILD_HOME
from tests.waiting import described, waiting_for

SOURCES = Path(__file__).resolve().parent / "collector"
POLL_INTERVAL = 0.02
LINE_MAX = 64 * 1024 * 1024
"""Bytes of one printed line, which is one request."""
OUTPUT_SHOWN = 2_000
"""Characters, of a build that failed."""

Attributes = Mapping[str, Any]


class NoGo(Exception):
    """There is no Go on the PATH, and no collector that was built earlier."""


def find_or_build() -> Path:
    """The path of the collector's binary, built from these very sources. Raises NoGo, RuntimeError."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    built = BUILD_HOME / f"otel-collector-{digest.hexdigest()[:16]}"
    if not built.exists():
        BUILD_HOME.mkdir(exist_ok=True)
        earlier = list(BUILD_HOME.glob("otel-collector-*"))
        _build(built)
        for path in earlier:
            path.unlink(missing_ok=True)
    return built


def _build(built: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise NoGo
    with TemporaryDirectory(prefix="build-collector-", dir=BUILD_HOME) as folder:
        result = Path(folder) / "collector"
        done = subprocess.run(
            [go, "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", str(result), "."],
            cwd=SOURCES,
            env=os.environ | {"CGO_ENABLED": "0"},
            stdout=PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"the OpenTelemetry Collector can't be built:\n{done.stdout[-OUTPUT_SHOWN:]}")
        result.replace(built)  # never half a binary, also when two build at once


class OtelCollector:
    """A collector on loopback: an async context manager."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        """Takes POSTs to `/v1/logs` and `/v1/traces`."""
        self.grpc_endpoint = f"http://127.0.0.1:{free_port()}"
        self._binary, self._folder = binary, folder
        self._printed: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    def __repr__(self) -> str:
        return f"<OtelCollector {self.endpoint} [{len(self._printed)} requests]>"

    async def __aenter__(self) -> Self:
        self._process = await self._start()
        self._reading = asyncio.create_task(self._read(self._process), name="what the collector prints")
        try:
            async with waiting_for("the collector to listen", self._log_end):
                await self._answer()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    def printed(self) -> list[dict[str, Any]]:
        """The requests received so far as OTLP JSON: with `resourceLogs` or `resourceSpans` in it."""
        return list(self._printed)

    def log_records(self) -> list[dict[str, Any]]:
        """The log records received so far, as in OTLP JSON, but for their `attributes` and their `resource`'s, which
        are plain."""
        return list(_flat(self._printed, "resourceLogs", "scopeLogs", "logRecords"))

    def spans(self) -> list[dict[str, Any]]:
        """The spans received so far; the same."""
        return list(_flat(self._printed, "resourceSpans", "scopeSpans", "spans"))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once what was received is as wanted. Raises AssertionError with what was received."""
        async with waiting_for(described(holds), self._received), self._news:
            await self._news.wait_for(holds)

    async def _start(self) -> Process:
        config = self._folder / "collector.yaml"
        config.write_text(yaml.safe_dump(_config(self.endpoint, self.grpc_endpoint)))
        with (self._folder / "collector.log").open("ab") as log:
            command = (self._binary, "--config", config)
            return await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=PIPE, stderr=log, limit=LINE_MAX
            )

    async def _answer(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http:
            while self._process.returncode is None:
                with suppress(aiohttp.ClientError, TimeoutError):  # it does not listen yet
                    async with http.get(self.endpoint):
                        return
                await asyncio.sleep(POLL_INTERVAL)
        raise RuntimeError(f"the collector ended instead of starting:\n{self._log_end()}")

    def _log_end(self) -> str:
        return (self._folder / "collector.log").read_text(errors="replace")[-OUTPUT_SHOWN:]

    def _received(self) -> list[str]:
        """The names of the spans and the bodies of the log records."""
        return [span["name"] for span in self.spans()] + [str(record["body"]) for record in self.log_records()]

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            async with self._news:
                self._printed.append(json.loads(line))
                self._news.notify_all()


def _config(http: str, grpc: str) -> dict[str, Any]:
    protocols = {name: {"endpoint": url.removeprefix("http://")} for name, url in (("http", http), ("grpc", grpc))}
    pipeline = {"receivers": ["otlp"], "exporters": ["printer"]}
    telemetry = {"metrics": {"level": "none"}, "logs": {"level": "warn"}}
    return {
        "receivers": {"otlp": {"protocols": protocols}},
        "exporters": {"printer": {}},
        "service": {"telemetry": telemetry, "pipelines": {"logs": pipeline, "traces": pipeline}},
    }


def _flat(printed: Sequence[dict[str, Any]], outer: str, middle: str, inner: str) -> Iterator[dict[str, Any]]:
    for request in printed:
        for by_resource in request.get(outer, ()):
            resource = _plain_attributes(by_resource["resource"].get("attributes", ()))
            for by_scope in by_resource[middle]:
                for one in by_scope[inner]:
                    yield {**one, "attributes": _plain_attributes(one.get("attributes", ())), "resource": resource}


def _plain_attributes(attributes: Sequence[Mapping[str, Any]]) -> Attributes:
    return {attribute["key"]: plain(attribute["value"]) for attribute in attributes}


def plain(value: Mapping[str, Any]) -> Any:
    """The value that an AnyValue of OTLP JSON stands for."""
    match dict(value):
        case {"intValue": number}:  # 64 bits are text in JSON
            return int(number)
        case {"arrayValue": array}:
            return [plain(item) for item in array.get("values", ())]
        case {"kvlistValue": entries}:
            return _plain_attributes(entries.get("values", ()))
    return next(iter(value.values()), None)


@pytest.fixture(scope="session")
def otel_collector_binary() -> Path:
    try:
        return find_or_build()
    except NoGo:
        if os.environ.get("CI"):
            raise
        pytest.skip("needs Go, to build an OpenTelemetry Collector")


@pytest.fixture
async def otel_collector(otel_collector_binary: Path, tmp_path: Path) -> AsyncIterator[OtelCollector]:
    """An OpenTelemetry Collector that runs; tests/conftest.py offers it to every test."""
    async with OtelCollector(otel_collector_binary, tmp_path) as collector:
        yield collector


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the OpenTelemetry Collector of the tests, where there is Go.")
    parser.add_argument("--ensure", action="store_true", required=True, help="print the path of the binary")
    parser.parse_args()
    try:
        print(find_or_build())
    except NoGo:
        print("otel-collector: no Go on the PATH, its tests will be skipped", file=sys.stderr)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
