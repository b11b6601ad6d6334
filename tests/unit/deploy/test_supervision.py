"""The systemd unit and the Kubernetes manifest fit how the process stops and fails."""

from __future__ import annotations

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from http_api.cli.supervisor import FINAL
from http_api.routes import OPERATIONS
from http_api.server import STOP_TIMEOUT

pytestmark = pytest.mark.unit

DEPLOY = Path(__file__).parents[3] / "deploy"
UNIT = DEPLOY / "systemd/session-manager.service"
MANIFEST = DEPLOY / "kubernetes/session-manager.yaml"


@pytest.fixture(scope="module")
def service() -> dict[str, str]:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def test_systemd_restarts_a_crash_but_not_invalid_settings(service: dict[str, str]) -> None:
    assert service["Restart"] == "on-failure"
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == FINAL - {0}
    assert service["ExecStart"].endswith("python -m http_api")


def test_systemd_waits_until_the_process_has_stopped(service: dict[str, str]) -> None:
    assert int(service["TimeoutStopSec"]) > STOP_TIMEOUT


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_accepts_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/session-manager/.venv/bin/python", "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    complaints = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert complaints == []


def test_kubernetes_waits_until_the_process_has_stopped_and_probes_what_exists() -> None:
    deployment, service = yaml.safe_load_all(MANIFEST.read_text())
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, rolling)
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + STOP_TIMEOUT
    assert pod.get("restartPolicy", "Always") == "Always"
    paths = {operation.path for operation in OPERATIONS}
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness", "startup")}
    assert {probe["path"] for probe in probes.values()} <= paths
    assert (probes["liveness"]["path"], probes["readiness"]["path"]) == ("/livez", "/readyz")
    ports = {port["name"] for port in container["ports"]}
    assert {probe["port"] for probe in probes.values()} | {service["spec"]["ports"][0]["targetPort"]} == ports
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
