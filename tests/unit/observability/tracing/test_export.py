"""Span export to a collector that is slow or absent."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import count
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from http_api.observability import logs
from http_api.observability.exit_budget import INTERRUPTED, KEPT_FOR_LOGS, ExitBudget
from http_api.observability.tracing import Untraced, tracing_of
from http_api.observability.tracing.export_warnings import EVERY, LOGGERS, ExportWarnings
from http_api.observability.tracing.otel import BATCH_MAX, QUEUE_MAX, OtelTracing
from http_api.observability.tracing.spans import Span
from http_api.settings.settings import DevSettings
from manager_agent.traceparent import read_trace
from scripts.free_ports import free_port

pytestmark = pytest.mark.unit

REQUEST = read_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    logs.configure(dev=False, level="info", secrets=["an-ingest-key"], stream=stream)
    yield stream
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def a_span(number: int) -> Span:
    return Span("step", REQUEST, 1_000.0, 1_001.0, {"number": number})


class SlowExporter(SpanExporter):
    """Blocks in its first export until it is released."""

    def __init__(self) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.numbers: list[Any] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.numbers += [(span.attributes or {})["number"] for span in spans]
        self.has_begun.set()
        self.may_go_on.wait()
        return SpanExportResult.SUCCESS


def in_full_batches(exporter: SpanExporter) -> BatchSpanProcessor:
    """Without the timer, which on a slow machine would export part of the first batch."""
    return BatchSpanProcessor(exporter, QUEUE_MAX, schedule_delay_millis=3_600_000, max_export_batch_size=BATCH_MAX)


async def test_a_full_span_queue_drops_its_oldest_spans(log: io.StringIO) -> None:
    """Making a span never blocks."""
    exporter = SlowExporter()
    tracing = OtelTracing(exporter, resource={"service.name": "ours"}, processor=in_full_batches)
    await tracing.start()
    for number in range(BATCH_MAX):
        tracing.record(a_span(number))
    exporter.has_begun.wait()
    for number in range(BATCH_MAX, BATCH_MAX + 100 + QUEUE_MAX):
        tracing.record(a_span(number))
    exporter.may_go_on.set()
    await tracing.aclose(ExitBudget(30.0))
    assert exporter.numbers == [*range(BATCH_MAX), *range(BATCH_MAX + 100, BATCH_MAX + 100 + QUEUE_MAX)]
    (complaint,) = lines(log)
    assert (complaint["event"], complaint["level"]) == ("traces_not_exported", "warning")
    assert "Queue full" in complaint["why"]


async def test_an_absent_trace_collector_blocks_nothing_and_is_reported_once(log: io.StringIO) -> None:
    """Though it is tried several times, and nothing can be sent at shutdown."""
    settings = DevSettings(_env_file=None, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")  # type: ignore[call-arg]
    tracing = tracing_of(settings)
    await tracing.start()
    for number in range(2 * BATCH_MAX):
        tracing.record(a_span(number))
    await tracing.aclose(ExitBudget())
    events = [line["event"] for line in lines(log)]
    assert sorted(events) == ["traces_not_exported", "traces_not_flushed"]


async def test_spans_unsent_at_shutdown_are_reported_within_the_exit_budget(log: io.StringIO) -> None:
    exporter, budget = SlowExporter(), ExitBudget(KEPT_FOR_LOGS + 0.05)
    tracing = OtelTracing(exporter, resource={"service.name": "ours"}, processor=in_full_batches)
    await tracing.start()
    for number in range(BATCH_MAX):
        tracing.record(a_span(number))
    exporter.has_begun.wait()
    tracing.record(a_span(BATCH_MAX))
    await tracing.aclose(budget)
    assert budget.left() <= KEPT_FOR_LOGS
    exporter.may_go_on.set()
    (warning,) = lines(log)
    assert (warning["event"], warning["count"]) == ("traces_not_flushed", BATCH_MAX + 1)


def test_the_exit_budget_is_shared_and_has_an_end() -> None:
    now = 1_000.0
    budget = ExitBudget(2.0, clock=lambda: now)
    now += 60  # it has not begun yet
    assert (budget.left(), budget.left(kept=0.5)) == (2.0, 1.5)
    now += 1.75
    assert (budget.left(), budget.left(kept=0.5)) == (0.25, 0.0)
    budget.cut()
    assert budget.left() == pytest.approx(INTERRUPTED)
    now += 1
    budget.cut()
    assert budget.left() == 0.0


def test_export_complaints_of_one_minute_make_one_warning(log: io.StringIO) -> None:
    minutes = count()
    for name in LOGGERS:  # a flush of the test before may go on in the background, and its filter with it
        logging.getLogger(name).filters.clear()
    complaints = ExportWarnings(clock=lambda: next(minutes) * EVERY / 10)
    complaints.install()
    try:
        for number in range(20):
            for name in LOGGERS:
                logging.getLogger(name).info("Exporting spans")
            logging.getLogger(LOGGERS[0]).error("Failed to export batch %s with an-ingest-key", number)
    finally:
        complaints.uninstall()
    said = [(line["event"], line["why"], line["so_far"]) for line in lines(log)]
    assert said == [
        ("traces_not_exported", "Failed to export batch 0 with [redacted]", 1),
        ("traces_not_exported", "Failed to export batch 10 with [redacted]", 11),
    ]


def test_no_spans_are_made_without_a_trace_endpoint() -> None:
    tracing = tracing_of(DevSettings(_env_file=None))
    assert isinstance(tracing, Untraced)
    assert tracing.begin(REQUEST) is REQUEST
    assert tracing.begin(None) is None


@pytest.mark.parametrize("name", LOGGERS)
def test_the_silenced_loggers_are_those_of_opentelemetry(name: str) -> None:
    """They are named after its modules, which may move."""
    assert import_module(name)._logger is logging.getLogger(name)
