"""deploy/compose.yaml: its services reach each other, with settings and variables that exist, and show the metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from http_api.access.api_keys import entry_of, read_api_keys
from scripts.compose_env import compose_variables
from scripts.demo import SERVICES
from scripts.repository import ROOT
from service_kit.settings import ServiceSettings

pytestmark = pytest.mark.unit

DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())


def grafana(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / f"grafana/{name}.yaml").read_text())
    return found


def targets_of(service: str) -> dict[str, str]:
    """Where the service finds which of the configurations."""
    return {config["target"]: config["source"] for config in COMPOSE["services"][service]["configs"]}


def test_every_variable_without_a_default_is_made_by_the_script() -> None:
    assert compose_variables().keys() == set(re.findall(r"\$\{(\w+):\?\}", TEXT))


def test_the_keys_that_are_made_are_the_keys_that_are_used() -> None:
    made = compose_variables()
    entries = read_api_keys(made["API_KEYS"])
    application, metrics = (entry_of(entries, made[name]) for name in ("SESSION_MANAGER_API_KEY", "METRICS_API_KEY"))
    assert application is not None
    assert metrics is not None
    assert (application.name, metrics.name) == ("application", "prometheus")
    assert compose_variables()["REDIS_PASSWORD"] != made["REDIS_PASSWORD"]
    assert made["REDIS_PASSWORD"].isalnum()


def test_all_files_exist() -> None:
    files = [config["file"] for config in COMPOSE["configs"].values() if "file" in config]
    assert [file for file in files if not (DEPLOY / file).is_file()] == []
    used = {config["source"] for service in COMPOSE["services"].values() for config in service.get("configs", ())}
    assert used == COMPOSE["configs"].keys()


def test_all_hosts_in_urls_are_services() -> None:
    hosts = set(re.findall(r"(?:ws|http|redis)://(?:[^/\s\"]*@)?([\w-]+):\d+", TEXT))
    assert hosts - {"127", "localhost"} <= COMPOSE["services"].keys() | {"session-manager"}
    assert "vector" in hosts


@pytest.mark.parametrize("name", SERVICES)
def test_each_example_service_is_told_where_it_is(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["command"] == ["python", "-m", SERVICES[name]]
    environment = service["environment"]
    assert environment["SERVICE_ENDPOINT"] == f"http://{name}:{environment['SERVICE_PORT']}"
    assert {variable.lower() for variable in environment} <= ServiceSettings.model_fields.keys()


def test_prometheus_of_compose_scrapes_the_replicas_as_the_alerts_expect() -> None:
    configured = yaml.safe_load(re.sub(r"\$\{(\w+):\?\}", r"\1", COMPOSE["configs"]["prometheus"]["content"]))
    [job], [documented] = configured["scrape_configs"], PROMETHEUS["scrape_configs"]
    assert job["job_name"] == documented["job_name"]
    assert configured["rule_files"] == PROMETHEUS["rule_files"]
    [replicas] = job["static_configs"]
    assert replicas["targets"] == ["session-manager-1:8080", "session-manager-2:8080"]
    assert targets_of("prometheus")["/etc/prometheus/alerts.yaml"] == "alerts"


def test_grafana_of_compose_has_the_dashboard_and_its_data() -> None:
    [source] = grafana("datasources")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = grafana("dashboards")["providers"]
    environment, targets = COMPOSE["services"]["grafana"]["environment"], targets_of("grafana")
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
    assert COMPOSE["configs"][targets[home]] == {"file": "grafana/session-manager.json"}


def test_vector_of_compose_differs_only_in_listening_for_other_containers() -> None:
    own, documented = (yaml.safe_load((DEPLOY / name).read_text()) for name in ("vector-compose.yaml", "vector.yaml"))
    assert COMPOSE["configs"][targets_of("vector")["/etc/vector/vector.yaml"]] == {"file": "vector-compose.yaml"}
    assert own["sources"]["session_manager"].pop("address") == "0.0.0.0:8686"
    del documented["sources"]["session_manager"]["address"]
    assert own == documented
    [log] = COMPOSE["services"]["vector"]["volumes"]
    assert own["sinks"]["file"]["path"].startswith(f"{log.partition(':')[2]}/")
