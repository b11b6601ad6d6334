"""What this project is to reach, row by row, and the figures that tell whether it does.

A figure belongs to a row by its benchmark and the beginning of its `work`, and to the goals of this project by its own
goal; figures without a goal are named by their `by` too, and are only stated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.result import BenchmarkResult, Compared, Figure, FigureTable
from benchmarks.tables import NOT_MEASURED, amount, goal_text, ratio


@dataclass(frozen=True, slots=True)
class FigureKey:
    """Figures of one benchmark."""

    benchmark: str
    work: str = ""
    """What their `work` begins with."""
    by: str = ""
    """Of figures without a goal."""
    title: str = ""
    """What the title of their table begins with."""


@dataclass(frozen=True, slots=True)
class AskedRow:
    work: str
    compared_with: str
    reach: str
    figures: tuple[FigureKey, ...]


@dataclass(frozen=True, slots=True)
class FoundFigure:
    result: BenchmarkResult
    table: FigureTable
    figure: Figure

    @property
    def name(self) -> str:
        """What was measured, without what the row says."""
        parts = [self.figure.work]
        if len(self.result.tables) > 1:
            parts.insert(0, self.table.title)
        alike = (one for one in self.table.figures if one.work == self.figure.work and one.goal)
        if self.figure.goal is None or sum(1 for _ in alike) > 1:
            parts.append(self.figure.by)
        return ": ".join(parts)

    @property
    def measured(self) -> str:
        """The part of the figure that its goal is about."""
        figure, of = self.figure, self.figure.goal.of if self.figure.goal else Compared.VALUE
        value = self.table.compared(figure, of)
        if value is None:
            return NOT_MEASURED
        match of:
            case Compared.VALUE | Compared.P99:
                compared = ratio(self.table.compared(figure, Compared.RATIO))
                return f"{amount(value, figure.unit)}{f' ({compared})' if compared and of is Compared.VALUE else ''}"
            case Compared.RATIO:
                return f"{ratio(value)} ({amount(figure.value, figure.unit)})"
            case Compared.P99_RATIO:
                return f"p99 {ratio(value)} ({amount(figure.p99 or 0, figure.unit)})"
            case Compared.MORE | Compared.P99_MORE:
                return f"floor {'+' if value >= 0 else '-'} {amount(abs(value), figure.unit)}"
            case Compared.P99_TO_MEDIAN:
                return f"p99 {value:.1f} x p50"

    @property
    def verdict(self) -> str:
        if self.figure.goal is None:
            return "stated"
        return {True: "reached", False: "missed", None: NOT_MEASURED}[self.table.reached(self.figure)]

    @property
    def judged(self) -> str:
        goal = self.figure.goal
        return f"{goal_text(goal, self.figure.unit)}: {self.verdict}" if goal else self.verdict


def found(key: FigureKey, results: Sequence[BenchmarkResult]) -> Iterator[FoundFigure]:
    for result in results:
        for table in result.tables if result.name == key.benchmark else ():
            for figure in table.figures if table.title.startswith(key.title) else ():
                is_meant = figure.by == key.by if key.by else figure.goal is not None
                if is_meant and figure.work.startswith(key.work):
                    yield FoundFigure(result, table, figure)


def without_figure(rows: Sequence[AskedRow], results: Sequence[BenchmarkResult]) -> list[str]:
    """The rows whose benchmark has a result, but no such figure."""
    measured = {result.name for result in results}
    return [
        f"{row.work}: {key.benchmark}, {key.work!r}"
        for row in rows
        for key in row.figures
        if key.benchmark in measured and not any(found(key, results))
    ]


def asked_table(rows: Sequence[AskedRow], results: Sequence[BenchmarkResult]) -> str:
    """As Markdown: a line for each figure."""
    lines = ["| work | compared with | to reach | measured | | `python -m` |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        head = (row.work, row.compared_with, row.reach)
        for key in row.figures:
            for measured, verdict in _cells(key, results):
                lines.append(f"| {' | '.join((*head, measured, verdict, f'`benchmarks.{key.benchmark}`'))} |")
                head = ("", "", "")
    return "\n".join(lines) + "\n"


def _cells(key: FigureKey, results: Sequence[BenchmarkResult]) -> list[tuple[str, str]]:
    cells = [(f"{one.name}: {one.measured}", one.judged) for one in found(key, results)]
    return cells or [(NOT_MEASURED, "")]


OURS = "session manager"
ASKED = (
    AskedRow(
        "memory of a managed room, PSS", "bare `rtc.Room`, log capture off, gathering once; livekit-agents PROCESS",
        "<= 1.05 x, and <= 1.1 MB; 1/30 of PROCESS", (FigureKey("room_cost", "MB PSS per room"),),
    ),
    AskedRow(
        "memory of the process without a room", "Python with its libraries imported", "<= floor + 25 MB",
        (FigureKey("process_start", "session manager: memory at rest, PSS"),),
    ),
    AskedRow(
        "start to `/readyz` 200; `import service_kit`", "Python importing the same libraries",
        "<= floor + 0.3 s; <= floor + 0.25 s",
        (
            FigureKey("process_start", "session manager: start"),
            FigureKey("process_start", "service_kit: start"),
        ),
    ),
    AskedRow(
        "CPU of an idle managed room", "bare `rtc.Room`, at its best", "<= 1.15 x", (FigureKey("room_cost", "idle"),)
    ),
    AskedRow(
        "create to manager ACTIVE", "a bare join, without dispatch", "<= 1.3 x at p50; p99 <= 3 x p50 with 8 callers",
        (FigureKey("arrival"),),
    ),
    AskedRow(
        "sessions a second, each with its manager", "bare joins a second, livekit-agents, openrtc",
        ">= 0.9 x; 0 lost of 1,000", (FigureKey("burst"),),
    ),
    AskedRow(
        "a service's join to the client's token; its leave to known", "the room event alone",
        "1/40 at p99; 1/20", (FigureKey("join_latency"),),
    ),
    AskedRow(
        "data message, RPC, attribute, HTTP `/ready` to the answer of the client that waits",
        "a bare packet, RPC, attribute change, aiohttp request", "<= floor + 3 ms at p50", (FigureKey("signals"),),
    ),
    AskedRow(
        "`POST /sessions`, `respond-async`", "bare CreateRoom by livekit-api",
        "<= floor + 2 ms at p50, <= floor + 10 ms at p99 with 32 callers", (FigureKey("create"),),
    ),
    AskedRow(
        "`POST /sessions` to the token, 3 services that join at once", "the slowest service's own invite and join",
        "<= 1.15 x at p50", (FigureKey("gate"),),
    ),
    AskedRow(
        "`GET /sessions/{id}`, `/health`, `POST .../token`", "a bare aiohttp handler answering the same bytes",
        ">= 0.5 x requests a second", (FigureKey("requests", title="Requests a second"),),
    ),
    AskedRow(
        "access log, metrics, tracing, redaction, problems, middlewares of a request",
        "the same request without all of these", "all together <= 1.5 x",
        (FigureKey("requests", title="CPU of a request without"),),
    ),
    AskedRow(
        "5,000 clients that follow a session", "bare aiohttp doing the same",
        "<= 1.3 x memory, a change reaches all within 150 ms", (FigureKey("waiters"),),
    ),
    AskedRow(
        "a change through core, store and all who listen", "copying the frozen session once; no listeners",
        "core >= 0.3 x of that rate; with all listeners <= 2 x",
        (FigureKey("change_rate"), FigureKey("watching", "a change")),
    ),
    AskedRow(
        "a metadata write that an answer waits for", "bare UpdateRoomMetadata", "<= floor + 0.5 ms",
        (FigureKey("recorded_answer"),),
    ),
    AskedRow(
        "restart with 300 live rooms, until all are managed again", "300 bare joins", "<= 1.3 x",
        (FigureKey("recovery"),),
    ),
    AskedRow(
        "growth: 10, 100, 300 rooms", "as many bare rooms, and the first rooms", "flat within 20 %",
        (FigureKey("room_growth"),),
    ),
    AskedRow(
        "growth: 1,000 to 100,000 sessions, 100 to 10,000 services", "the smallest size", "flat within 20 %",
        (FigureKey("store_growth"), FigureKey("request_growth")),
    ),
    AskedRow(
        "dashboard with 1,000 changing sessions", "the browser's own for as many rows", "no task over 50 ms",
        (
            FigureKey("dashboard"),
            FigureKey("dashboard", "until the first row", by="dashboard"),
            FigureKey("dashboard", "bytes", by="dashboard"),
        ),
    ),
    AskedRow(
        "what the gate itself costs a user", "a token server that does not wait, until all services are in the room",
        "stated", (FigureKey("gate", "until it has it", by=OURS),),
    ),
    AskedRow(
        "a gate of what LiveKit has", "the slowest service's own invite and join", "stated",
        (FigureKey("gate", "until the client", by="agent by plain dispatch, polling"),),
    ),
    AskedRow(
        "openrtc, its coroutine pool", "bare `rtc.Room`, at its best", "stated",
        (
            FigureKey("room_cost", "MB PSS per room, settled", by="openrtc, its coroutine pool"),
            FigureKey("room_cost", "create", by="openrtc, its coroutine pool"),
            FigureKey("burst", "managers", by="openrtc, its coroutine pool"),
        ),
    ),
)  # fmt: skip
