"""The files of deploy/ are what their programs read, by those programs' own schemas and linters."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from http_api.routes import OPERATIONS
from scripts import tools
from scripts.repository import ROOT
from tests.prerequisites import prerequisite

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300)]

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OPERATORS = {"ServiceMonitor"}
"""Kinds of Prometheus' operator, of which Kubernetes has no schema."""


@pytest.fixture(scope="module", autouse=True)
def installed_tools() -> None:
    with prerequisite():
        tools.ensure()


def output_of(name: str, *arguments: str | Path) -> str:
    done = subprocess.run([tools.program(name), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def production() -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    return list(yaml.safe_load_all(output_of("kubectl", "kustomize", KUBERNETES / "production")))


def of_kind(resources: list[dict[str, Any]], kind: str, name: str = "session-manager") -> dict[str, Any]:
    found: dict[str, Any]
    [found] = [one for one in resources if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


# --- Kubernetes -------------------------------------------------------------------------------------


def test_kubernetes_knows_every_field(production: list[dict[str, Any]], tmp_path: Path) -> None:
    built = tmp_path / "production.yaml"
    built.write_text(yaml.safe_dump_all(one for one in production if one["kind"] not in OPERATORS))
    plain = [KUBERNETES / "session-manager.yaml", KUBERNETES / "secret.example.yaml"]
    for version in ("1.30", "1.37"):
        output_of("kubernetes-validate", "--strict", "--quiet", "-k", version, built, *plain)


def test_an_unknown_field_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((KUBERNETES / "session-manager.yaml").read_text().replace("periodSeconds", "periodSecond"))
    with pytest.raises(AssertionError, match="periodSecond"):
        output_of("kubernetes-validate", "--strict", "--quiet", wrong)


def test_the_number_of_replicas_is_the_autoscalers(production: list[dict[str, Any]]) -> None:
    deployment = of_kind(production, "Deployment")
    scaler = of_kind(production, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    [metric] = scaler["metrics"]
    assert metric["resource"]["name"] == "cpu"
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "1"  # utilization is of what is requested
    assert scaler["minReplicas"] >= 3


def test_prometheus_scrapes_each_replica_under_the_name_of_the_alerts(production: list[dict[str, Any]]) -> None:
    monitor, service = (of_kind(production, kind) for kind in ("ServiceMonitor", "Service"))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["path"] in {operation.path for operation in OPERATIONS}
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    [job] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())["scrape_configs"]
    assert job["job_name"] == service["metadata"]["name"]
    secrets = {
        one["metadata"]["name"]: one for one in yaml.safe_load_all((KUBERNETES / "secret.example.yaml").read_text())
    }
    credentials = endpoint["authorization"]["credentials"]
    assert credentials["key"] in secrets[credentials["name"]]["stringData"]


# --- containers -------------------------------------------------------------------------------------


def test_compose_knows_every_field() -> None:
    output_of("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_hadolint_finds_nothing_in_the_dockerfiles() -> None:
    files = sorted(DEPLOY.glob("*Dockerfile"))
    assert files
    assert output_of("hadolint", *files) == ""
