"""deploy/vector*.yaml: Vector accepts what the session manager sends, and every part is connected."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from http_api.observability.shipping.formats import JSON, Format, otlp_of
from http_api.settings.log_endpoint import read_log_endpoint
from http_api.settings.settings import DevSettings

pytestmark = pytest.mark.unit

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
MAIN, LOKI, WITH_OTLP = (DEPLOY / f"{name}.yaml" for name in ("vector", "vector-loki", "vector-otlp"))
API_PORT = 8686
"""The port of Vector's API by default."""
EVENT = {"level": "info", "path": "/api/v1/sessions", "timestamp": "2026-11-25T01:28:18.123456Z"}
CONFIGURATIONS = pytest.mark.parametrize(
    "files", [[MAIN], [MAIN, LOKI], [WITH_OTLP]], ids=lambda files: " + ".join(file.stem for file in files)
)


def loaded(files: list[Path]) -> dict[str, dict[str, Any]]:
    """Merge several files as Vector does: no component may be in two of them."""
    together: dict[str, dict[str, Any]] = {"sources": {}, "transforms": {}, "sinks": {}, "api": {}}
    for file in files:
        for kind, parts in yaml.safe_load(file.read_text()).items():
            assert not together[kind].keys() & parts.keys()
            together[kind] |= parts
    return together


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


@CONFIGURATIONS
def test_vector_inputs_exist_and_every_component_leads_to_a_sink(files: list[Path]) -> None:
    config = loaded(files)
    known = config["sources"].keys() | config["transforms"].keys()
    inputs = [
        name.removesuffix(".logs")  # the one of an opentelemetry source's outputs that it has logs on
        for part in (*config["transforms"].values(), *config["sinks"].values())
        for name in part["inputs"]
    ]
    assert set(inputs) == known
    assert config["sinks"]


@CONFIGURATIONS
def test_vector_sources_and_api_listen_on_different_ports(files: list[Path]) -> None:
    config = loaded(files)
    addresses = re.findall(r"address: (\S+)", yaml.safe_dump(config))
    assert len({port(address) for address in addresses}) == len(addresses) >= 2
    assert port(config["api"].get("address", ":0")) != API_PORT


def address_and_path(source: dict[str, Any]) -> tuple[str, str]:
    if source["type"] == "opentelemetry":
        return source["http"]["address"], "/v1/logs"  # the only path that it knows for logs
    assert (source["type"], source["decoding"]) == ("http_server", {"codec": "json"})
    return source["address"], source["path"]


@pytest.mark.parametrize(("file", "format"), [(MAIN, JSON), (WITH_OTLP, otlp_of({}))])
def test_settings_in_the_vector_config_comments_match_its_source(file: Path, format: Format) -> None:
    said = re.search(
        r"VECTOR_LOG_ENABLED=true (?:VECTOR_LOG_FORMAT=(\w+) )?VECTOR_LOG_ENDPOINT=(\S+)", file.read_text()
    )
    assert said is not None
    assert (said[1] or DevSettings(_env_file=None).vector_log_format) == format.name
    (source,) = loaded([file])["sources"].values()
    address, path = address_and_path(source)
    url = read_log_endpoint(said[2]).post_to(format.path)
    assert (url.port, url.path) == (port(address), path)


def test_the_sample_entry_of_the_vector_page_names_a_logger_of_this_project() -> None:
    page = (DEPLOY.parent / "docs" / "vector.md").read_text()
    sample = re.search(r"```json\n(.+)\n```", page)
    assert sample is not None
    assert importlib.util.find_spec(json.loads(sample[1])["logger"])


@CONFIGURATIONS
def test_vector_responds_when_a_sink_has_stored_the_entries(files: list[Path]) -> None:
    """Otherwise a killed Vector loses them. The console sink of vector.yaml only shows what arrives."""
    sinks = loaded(files)["sinks"]
    assert {name for name, sink in sinks.items() if not sink.get("acknowledgements", {}).get("enabled")} <= (
        {"console"} if len(sinks) > 1 else set()
    )


def test_loki_has_a_buffer_of_its_own_in_the_vector_config() -> None:
    """Without it, the other sinks stop while Loki is down. Vector refuses a smaller one."""
    buffer = loaded([LOKI])["sinks"]["loki"]["buffer"]
    assert buffer["type"] == "disk"
    assert buffer["max_size"] >= 268_435_488


def test_vector_takes_json_at_the_default_log_endpoint() -> None:
    said = DevSettings(_env_file=None)
    (source,) = loaded([MAIN])["sources"].values()
    assert said.vector_log_endpoint.post_to(JSON.path).port == port(source["address"])


@CONFIGURATIONS
def test_vector_config_drops_nothing_and_uses_nothing_removed(files: list[Path]) -> None:
    """Since 0.57 variables are not interpolated, and no path or label may come from a field of the event alone."""
    (remap,) = loaded(files)["transforms"].values()
    assert (remap["drop_on_error"], remap["drop_on_abort"]) == (False, False)
    assert not re.search(r"\$\{|\{\{", "".join(file.read_text() for file in files))


@pytest.mark.parametrize(
    ("file", "event"),
    [
        (MAIN, {**EVENT, "event": "request", "vector_http_path": "/", "source_type": "http_server"}),
        (
            WITH_OTLP,
            {
                "message": "request",
                "severity_text": "info",
                "attributes": {"path": EVENT["path"], "message": "not this"},
                "timestamp": EVENT["timestamp"],
                "source_type": "opentelemetry",
            },
        ),
    ],
)
def test_the_vector_transform_turns_a_log_entry_into_an_event(file: Path, event: dict[str, Any]) -> None:
    """Run by Vector's own language, where a build of it is installed."""
    vrl = pytest.importorskip("vrl_python", reason="needs vrl-python, to run the transform")
    source = loaded([file])["transforms"]["entries"]["source"]
    assert vrl.VRLRuntime.check_syntax(source) is None
    made = vrl.VRLRuntime.run(source, event, "UTC").processed_event
    assert re.fullmatch(r"2026-11-25.01:28:18\.123456( UTC|Z)", made.pop("timestamp"))
    assert made == {"message": "request", "level": "info", "path": EVENT["path"], "service": "session-manager"}


def test_vector_adds_a_time_to_an_entry_without_one() -> None:
    vrl = pytest.importorskip("vrl_python", reason="needs vrl-python, to run the transform")
    source = loaded([MAIN])["transforms"]["entries"]["source"]
    for event in ({"event": "x"}, {"event": "x", "timestamp": "never"}):
        made = vrl.VRLRuntime.run(source, event, "UTC").processed_event
        assert (made["message"], made["timestamp"][:2]) == ("x", "20")


@CONFIGURATIONS
def test_vector_validates_its_config(files: list[Path]) -> None:
    vector = shutil.which("vector")
    if vector is None:
        pytest.skip("needs vector on the PATH")
    done = subprocess.run([vector, "validate", "--no-environment", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
