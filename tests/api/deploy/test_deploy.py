"""deploy/ and docs/metrics.md agree with a real /metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from http_api.observability.metrics.metrics import METRICS
from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, Refusal, Signal
from scripts.repository import ROOT
from tests.api.resources.test_webhooks import post, webhook
from tests.api.stand_ins import Api
from tests.api.still_sessions import still_session
from tests.promql import Selector, selectors
from tests.scraped_metrics import ScrapedMetrics, scrape
from tests.unit.sessions import ASR

pytestmark = pytest.mark.api

DASHBOARD = json.loads((ROOT / "deploy/grafana/session-manager.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
DOCUMENTED = (ROOT / "docs/metrics.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()

OF_PROMETHEUS = {"up": {"instance", "job"}}
"""Metrics that Prometheus adds itself."""
OF_THE_TARGET = {"instance", "job"}
"""Labels that Prometheus adds to every metric."""
OURS = "session_manager_"
OF_OURS = "and on (instance, job) session_manager_build_info"


@pytest.fixture
async def shown(api: Api) -> ScrapedMetrics:
    """The metrics after a session that was ready, replaced a service, and failed."""
    await api.register("asr-service")
    async with still_session(api, profile="voice") as session:
        now = api.parts.clock()
        await session.happens(ev.InviteAccepted(now, ASR, 1, 1))
        await session.becomes_ready()
        await session.happens(
            ev.ServiceSignalled(now, "sm-asr-1", Signal.FAILED, Evidence.MESSAGE),
            ev.InviteStarted(now, ASR, 2, 1, "sm-asr-2", "inv_2"),
            ev.InviteRefused(now, ASR, 2, 1, Refusal.UNREACHABLE),
            ev.DeadlinePassed(now + 60),
        )
        assert session.now.state == "failed"
        for event in ("room_started", "participant_joined"):
            assert await post(api, webhook("elsewhere", event, identity="bob", joinedAtMs="1766400000000")) == 200
        return await scrape(api.http)


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression with its place."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            yield f"variable {variable['name']}", f"sum by ({label}) ({metric})"


def labels_of(exposed: ScrapedMetrics) -> dict[str, set[str]]:
    """The labels by the name of the series."""
    found: dict[str, set[str]] = dict(OF_PROMETHEUS)
    for name, labels in exposed.series:
        found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def wrong(selector: Selector, exposed: ScrapedMetrics) -> str | None:
    """The reason why this selector finds nothing, if it does."""
    labels = labels_of(exposed)
    if selector.metric not in labels:
        return f"no {selector.metric}"
    if unknown := selector.labels - labels[selector.metric] - OF_THE_TARGET:
        return f"{selector.metric} has no {unknown}"
    for label, values in selector.values.items():
        known = exposed.by(label, selector.metric).keys() if label not in OF_THE_TARGET else values
        if unknown := values - known:
            return f"{selector.metric} knows no {label} {unknown}"
    return None


async def test_dashboard_and_alerts_query_only_existing_metrics(shown: ScrapedMetrics) -> None:
    asked = [(where, selector) for where, text in expressions() for selector in selectors(text)]
    assert len(asked) > 60
    assert {where: what for where, selector in asked if (what := wrong(selector, shown))} == {}


@pytest.mark.parametrize(
    "expression",
    [
        "session_manager_session{}",
        "sum by (profile) (session_manager_sessions)",
        'session_manager_sessions{status="ready"}',
        'session_manager_sessions{state="redy"}',
        'session_manager_sessions{state!~"ended|faild"}',
        "histogram_quantile(0.9, sum by (le) (rate(session_manager_sessions[5m])))",
        "rate(session_manager_sessions_ended_count[5m])",
        "sum(up) / sum by (profile) (session_manager_waiters)",
        "session_manager_waiters and on (profile) up",
        "up unless on (profile) session_manager_waiters == 0",
    ],
)
async def test_query_of_an_unknown_metric_or_label_is_found(shown: ScrapedMetrics, expression: str) -> None:
    assert any(wrong(selector, shown) for selector in selectors(expression))


def test_shared_metrics_are_queried_for_the_session_managers_job_only() -> None:
    """Prometheus scrapes other processes with the same metric names."""
    shared = {
        (where, text, selector.metric, "job" in selector.values)
        for where, text in expressions()
        for selector in selectors(text)
        if not selector.metric.startswith(OURS)
    }
    assert {metric for _, _, metric, _ in shared} >= {"up", "process_open_fds", "process_cpu_seconds_total"}
    assert [where for where, text, _, by_job in shared if not (by_job or text.endswith(OF_OURS))] == []


def test_alerts_leave_out_processes_that_lost_livekit() -> None:
    """Such a process has an alert of its own; the alerts about its consequences still cover the others."""
    rules = {rule["alert"]: rule["expr"] for rule in ALERTS["groups"][0]["rules"]}
    for alert in ("SessionsFail", "NoWebhooks"):
        assert rules[alert].endswith("unless on (instance) session_manager_manager_registered == 0")
        assert all("instance" in selector.labels for selector in selectors(rules[alert]))


@pytest.mark.parametrize(
    "expression", ["sum(up", "up % 2", "median(up)", "up) + 1", "sum by (a (up)", "up offset 5m {"]
)
def test_malformed_promql_is_found(expression: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        selectors(expression)


def test_grafana_dashboard_can_be_imported() -> None:
    """It has a uid, asks for the data source, and its panels do not overlap."""
    assert (DASHBOARD["uid"], DASHBOARD["schemaVersion"] >= 39) == ("session-manager", True)
    assert "id" not in DASHBOARD
    sources = {json.dumps(source) for source in sources_of(DASHBOARD["panels"])}
    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        ref = panel["gridPos"]
        cells = {(ref["x"] + x, ref["y"] + y) for x in range(ref["w"]) for y in range(ref["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Sessions", "Readiness, by type of service", "LiveKit", "HTTP", "Process"]


def sources_of(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (inner for key, inner in value.items() if key == "datasource")
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from sources_of(inner)


def test_every_alert_has_a_severity_summary_and_description() -> None:
    for rule in ALERTS["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        shown_labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert all(shown_labels <= selector.labels | OF_THE_TARGET for selector in selectors(rule["expr"]))


def test_prometheus_config_names_the_job_and_the_alerts_file() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert all(f'job="{job["job_name"]}"' in text for where, text in expressions() if "job=" in text)
    assert job["authorization"]["type"] == "Bearer"
    assert PROMETHEUS["rule_files"] == ["alerts.yaml"]


async def test_documented_metrics_and_labels_equal_the_exposed_ones(api: Api, shown: ScrapedMetrics) -> None:
    rows = dict(re.findall(r"^\| `(session_manager_\w+)` \|([^|]*)\|", DOCUMENTED, re.MULTILINE))
    told = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows.items()}
    families = {family.name + "_total" * (family.type == "counter"): family for family in shown.families}
    names = {name for name in families if name.startswith(OURS)}
    assert told.keys() == names
    for name in names:
        labels = {label for sample in families[name].samples for label in sample.labels} - {"le"}
        assert told[name] == labels or not families[name].samples, name
    assert {family.name for family in api.app[METRICS].registry.collect()} >= {"process_open_fds", "python_info"}


def test_every_alert_is_documented() -> None:
    told = re.findall(r"^\| `([A-Z]\w+)` \|", DOCUMENTED, re.MULTILINE)
    assert told == [rule["alert"] for rule in ALERTS["groups"][0]["rules"]]
    assert len(set(told)) == len(told)


def test_operators_are_told_the_metric_of_each_alert() -> None:
    told = dict(re.findall(r"^\| `([A-Z]\w+)` \| `(\w+)` \|", OPERATIONS, re.MULTILINE))
    rules = {rule["alert"]: rule["expr"] for rule in ALERTS["groups"][0]["rules"]}
    assert len(told) > 5
    assert [alert for alert, metric in told.items() if metric not in rules[alert]] == []
