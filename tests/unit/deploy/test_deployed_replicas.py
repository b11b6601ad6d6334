"""The files that deploy several replicas fit the settings, how a replica stops, and what Redis must be like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from http_api.app import DRAIN_TIMEOUT
from http_api.protocol.prefer import WAIT_MAX
from http_api.routes import OPERATIONS
from http_api.server import STOP_TIMEOUT
from http_api.streams.heartbeats import HEARTBEAT
from manager_agent.redis.url import read_redis_url

pytestmark = pytest.mark.unit

DEPLOY = Path(__file__).parents[3] / "deploy"
DOCUMENTED = (DEPLOY.parent / "docs/settings.md").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
BASE = DEPLOY / "kubernetes/base"
MANIFEST = [
    resource
    for name in yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    for resource in yaml.safe_load_all((BASE / name).read_text())
]
SECRET, METRICS_SECRET = yaml.safe_load_all((DEPLOY / "kubernetes/secret.example.yaml").read_text())
BALANCER = (DEPLOY / "haproxy.cfg").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
REPLICAS = [service for name, service in COMPOSE["services"].items() if name.startswith("session-manager")]
MUST_BE = {"--appendonly": "yes", "--maxmemory-policy": "noeviction"}


def of_kind(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any]
    [found] = [one for one in MANIFEST if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def container_of(kind: str, name: str) -> dict[str, Any]:
    container: dict[str, Any]
    [container] = of_kind(kind, name)["spec"]["template"]["spec"]["containers"]
    return container


def options(command: list[str]) -> dict[str, str]:
    assert command[0] == "redis-server"
    return dict(zip(command[1::2], command[2::2], strict=True))


def variables() -> Iterator[str]:
    for service in REPLICAS:
        yield from service["environment"]
    yield from (one["name"] for one in container_of("Deployment", "session-manager")["env"])
    yield from of_kind("ConfigMap", "session-manager")["data"]
    yield from SECRET["stringData"].keys() - {"REDIS_PASSWORD", "SESSION_MANAGER_API_KEY"}  # Redis' own, `drain`'s


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


# --- compose ----------------------------------------------------------------------------------------


def test_compose_has_two_replicas_that_differ_only_in_name_and_port() -> None:
    first, second = REPLICAS
    assert _without(first, "environment", "ports") == _without(second, "environment", "ports")
    assert _without(first["environment"], "REPLICA_NAME") == _without(second["environment"], "REPLICA_NAME")
    assert first["environment"]["REPLICA_NAME"] != second["environment"]["REPLICA_NAME"]
    assert first["ports"] != second["ports"]


def _without(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def test_every_variable_is_a_documented_setting() -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", DOCUMENTED))
    assert set(variables()) - named == set()


def test_compose_waits_until_a_replica_has_stopped() -> None:
    for service in REPLICAS:
        assert seconds(service["stop_grace_period"]) > STOP_TIMEOUT


def test_the_replicas_of_compose_share_one_redis_with_a_password() -> None:
    [url] = {service["environment"]["REDIS_URL"] for service in REPLICAS}
    password = "${REDIS_PASSWORD:?}"
    assert password in url
    [(host, _)] = read_redis_url(url.replace(password, "hushed")).nodes
    assert host in COMPOSE["services"]
    redis = options(COMPOSE["services"]["redis"]["command"])
    assert redis["--requirepass"] == password
    assert redis.items() >= MUST_BE.items()


def test_livekit_of_compose_is_set_up_as_the_session_manager_needs_it() -> None:
    text = re.sub(r"\$\{(\w+):\?\}", r"\1", COMPOSE["configs"]["livekit"]["content"])
    livekit = yaml.safe_load(text)
    assert livekit["room"] == {"auto_create": False}
    [webhook] = livekit["webhook"]["urls"]
    assert webhook.endswith("/livekit/webhook")
    host = webhook.split("/")[2].split(":")[0]
    assert all(host in service["networks"]["default"]["aliases"] for service in REPLICAS)
    assert livekit["webhook"]["api_key"] in livekit["keys"]


def test_the_load_balancer_of_compose_asks_both_replicas_whether_they_are_ready() -> None:
    servers = re.findall(r"^ +server (\S+) (\S+):(\d+)$", BALANCER, re.MULTILINE)
    names = [service["environment"]["REPLICA_NAME"] for service in REPLICAS]
    ports = {port.rpartition(":")[2] for service in REPLICAS for port in service["ports"]}
    assert servers == [(name, name, *ports) for name in names]
    assert set(names) < set(COMPOSE["services"])
    assert "option httpchk GET /readyz" in BALANCER
    assert COMPOSE["configs"]["balancer"] == {"file": "haproxy.cfg"}
    for side in ("client", "server"):
        [timeout] = re.findall(rf"timeout {side} (\w+)$", BALANCER, re.MULTILINE)
        assert seconds(timeout) > max(WAIT_MAX, HEARTBEAT)


# --- Kubernetes -------------------------------------------------------------------------------------


def test_three_replicas_are_replaced_and_moved_one_by_one() -> None:
    deployment, budget = of_kind("Deployment", "session-manager"), of_kind("PodDisruptionBudget", "session-manager")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert budget["spec"]["maxUnavailable"] == 1
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = (deployment["spec"]["selector"], budget["spec"]["selector"])
    assert [selector["matchLabels"] for selector in selectors] == [labels, labels]
    assert of_kind("Service", "session-manager")["spec"]["selector"] == labels


def test_kubernetes_waits_until_a_replica_has_handed_its_sessions_over() -> None:
    pod = of_kind("Deployment", "session-manager")["spec"]["template"]["spec"]
    command = container_of("Deployment", "session-manager")["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["session-manager", "drain"]
    drains = float(command[command.index("--timeout") + 1])
    assert drains > DRAIN_TIMEOUT
    assert pod["terminationGracePeriodSeconds"] >= drains + STOP_TIMEOUT + 10


def test_the_probes_of_replicas_ask_what_exists() -> None:
    container = container_of("Deployment", "session-manager")
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness", "startup")}
    assert {probe["path"] for probe in probes.values()} <= {operation.path for operation in OPERATIONS}
    assert (probes["liveness"]["path"], probes["readiness"]["path"]) == ("/livez", "/readyz")
    assert {probe["port"] for probe in probes.values()} == {port["name"] for port in container["ports"]}


def test_the_redis_of_kubernetes_keeps_what_it_acknowledged() -> None:
    redis, spec = container_of("StatefulSet", "session-manager-redis"), of_kind("StatefulSet", "session-manager-redis")
    assert options(redis["command"]).items() >= {**MUST_BE, "--requirepass": "$(REDIS_PASSWORD)"}.items()
    assert "REDIS_PASSWORD" in {one["name"] for one in redis["env"]}
    [claim] = spec["spec"]["volumeClaimTemplates"]
    assert redis["volumeMounts"] == [{"name": claim["metadata"]["name"], "mountPath": "/data"}]
    service = of_kind("Service", spec["spec"]["serviceName"])
    assert service["spec"]["selector"] == spec["spec"]["template"]["metadata"]["labels"]


def test_settings_are_split_into_secret_ones_and_others() -> None:
    settings, secrets = of_kind("ConfigMap", "session-manager")["data"], SECRET["stringData"]
    assert not [name for name in settings if re.search("SECRET|PASSWORD|KEY|REDIS_URL", name)]
    assert not settings.keys() & secrets.keys()
    variables = {name for service in REPLICAS for name in service["environment"]} - {"REPLICA_NAME"}
    needed = {name for name in variables if not name.startswith("VECTOR_LOG_")}
    assert needed <= settings.keys() | secrets.keys()
    container = container_of("Deployment", "session-manager")
    sources = [{"configMapRef": {"name": "session-manager"}}, {"secretRef": {"name": SECRET["metadata"]["name"]}}]
    assert container["envFrom"] == sources
    [(host, _)] = read_redis_url(secrets["REDIS_URL"]).nodes
    assert of_kind("Service", host)


def test_policies_let_in_who_calls_a_replica_and_only_replicas_to_redis() -> None:
    replicas, redis = (of_kind("NetworkPolicy", name)["spec"] for name in ("session-manager", "session-manager-redis"))
    labels = of_kind("Deployment", "session-manager")["spec"]["selector"]["matchLabels"]
    assert replicas["podSelector"]["matchLabels"] == labels
    assert redis["podSelector"] == of_kind("StatefulSet", "session-manager-redis")["spec"]["selector"]
    [from_replicas] = redis["ingress"]
    assert from_replicas["from"] == [{"podSelector": {"matchLabels": labels}}]
    assert redis["egress"] == []
    for policy, container in (
        (replicas, container_of("Deployment", "session-manager")),
        (redis, container_of("StatefulSet", "session-manager-redis")),
    ):
        [rule] = policy["ingress"]
        assert {port["port"] for port in rule["ports"]} == {port["name"] for port in container["ports"]}


# --- the image --------------------------------------------------------------------------------------


def test_the_image_runs_the_process_that_the_manifests_run() -> None:
    assert f"CMD {re.findall(r'CMD (.*)', DOCKERFILE)[0]}" == 'CMD ["python", "-m", "http_api"]'
    assert container_of("Deployment", "session-manager")["command"] == ["python", "-m", "http_api"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert all((DEPLOY.parent / name).exists() for line in copied for name in line.split())
    assert "USER 1000" in DOCKERFILE
