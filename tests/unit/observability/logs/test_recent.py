"""The newest entries of the log about each session: which are kept, how many, and for how long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from http_api.observability.logs import LogEntry
from http_api.observability.logs.recent import LINE_MAX, RecentLogs
from manager_agent.frozen import replace
from manager_agent.session.session import Session
from manager_agent.store.store import Change
from tests.unit.sessions import a_session

pytestmark = pytest.mark.unit


def session(session_id: str) -> Session:
    return replace(a_session(), session_id=session_id, owner="acme")


def begins(logs: RecentLogs, *session_ids: str) -> None:
    for session_id in session_ids:
        logs.follow(Change(session_id, None, session(session_id)))


def ends(logs: RecentLogs, session_id: str) -> None:
    logs.follow(Change(session_id, session(session_id), None))


def says(logs: RecentLogs, session_id: object, event: str, **more: Any) -> None:
    logs.take(LogEntry({"event": event, "level": "debug", "session_id": session_id, **more}))


def events(logs: RecentLogs, session_id: str) -> list[str]:
    return [entry["event"] for entry in logs.of(session_id)]


def test_recent_entries_of_a_session_are_kept_in_order_with_all_fields() -> None:
    """Including those of level debug."""
    logs = RecentLogs()
    begins(logs, "a", "b")
    says(logs, "a", "one", room="über", detail={"tries": [1, None]})
    says(logs, "b", "other")
    says(logs, "a", "two")
    one = {"event": "one", "level": "debug", "session_id": "a", "room": "über", "detail": {"tries": [1, None]}}
    assert logs.of("a") == [one, {"event": "two", "level": "debug", "session_id": "a"}]
    assert events(logs, "b") == ["other"]


def test_recent_logs_keep_no_entry_without_a_known_session() -> None:
    """An entry with an unknown session id is not kept: otherwise anybody could push out others."""
    logs = RecentLogs()
    begins(logs, "a")
    for session_id in (None, 7, ["a"], "another", ""):
        says(logs, session_id, "no")
    logs.take(LogEntry({"event": "no"}))
    assert (logs.entries, logs.bytes, logs.of("another")) == (0, 0, [])


def test_successful_reads_of_a_session_are_not_kept_in_its_recent_log() -> None:
    """A client that polls would fill the log. Failed reads and writes are kept."""
    logs = RecentLogs()
    begins(logs, "a")
    for method, status in (("GET", 200), ("HEAD", 304), ("GET", 500), ("DELETE", 200)):
        says(logs, "a", "request", method=method, status=status)
    says(logs, "a", "request_abandoned", method="GET")
    assert [(entry["method"], entry["status"]) for entry in logs.of("a")] == [("GET", 500), ("DELETE", 200)]


def test_recent_logs_keep_the_newest_entries_of_each_session() -> None:
    logs = RecentLogs(per_session=3)
    begins(logs, "a")
    for number in range(10):
        says(logs, "a", str(number))
    assert (events(logs, "a"), logs.entries) == (["7", "8", "9"], 3)


def test_beyond_the_total_bound_the_oldest_session_loses_its_oldest_entries() -> None:
    logs = RecentLogs(entries_max=4)
    begins(logs, "a", "b")
    for event in ("1", "2"):
        says(logs, "a", event)
    for event in ("3", "4", "5", "6", "7"):
        says(logs, "b", event)
    assert (events(logs, "a"), events(logs, "b")) == ([], ["4", "5", "6", "7"])


def test_recent_logs_do_not_keep_an_entry_that_is_too_long() -> None:
    logs = RecentLogs()
    begins(logs, "a")
    says(logs, "a", "short")
    says(logs, "a", "long", text="x" * LINE_MAX)
    assert events(logs, "a") == ["short"]


def test_recent_logs_of_a_removed_session_are_dropped_and_stay_empty() -> None:
    logs = RecentLogs()
    begins(logs, "a", "b")
    says(logs, "a", "one")
    says(logs, "b", "two")
    ends(logs, "a")
    says(logs, "a", "late")
    assert (logs.of("a"), events(logs, "b"), logs.entries) == ([], ["two"], 1)
    ends(logs, "b")
    assert (logs.entries, logs.bytes) == (0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begins"), st.sampled_from("abc")),
        st.tuples(st.just("ends"), st.sampled_from("abc")),
        st.tuples(st.sampled_from("abc"), st.integers(0, 300)),
    ),
    max_size=60,
)


@settings(max_examples=200, derandomize=True)
@given(steps=STEPS)
def test_recent_logs_keep_their_bounds_and_counts_in_every_history(steps: list[tuple[str, Any]]) -> None:
    logs = RecentLogs(per_session=4, entries_max=8, bytes_max=1_500)
    for number, (what, which) in enumerate(steps):
        if what == "begins":
            begins(logs, which)
        elif what == "ends":
            ends(logs, which)
        else:
            says(logs, what, str(number), text="x" * which)
        kept = {session_id: logs.of(session_id) for session_id in "abc"}
        lines = [LogEntry(entry).line.encode() for entries in kept.values() for entry in entries]
        assert (logs.entries, logs.bytes) == (len(lines), sum(map(len, lines)))
        assert logs.entries <= 8
        assert logs.bytes <= 1_500
        assert all(len(entries) <= 4 for entries in kept.values())


def test_recent_logs_take_entries_from_any_thread_while_sessions_change() -> None:
    logs = RecentLogs(per_session=50, entries_max=300)
    ids = [f"s{number}" for number in range(10)]

    def talk(number: int) -> None:
        for at in range(500):
            says(logs, ids[(number + at) % 10], "said")
            logs.of(ids[at % 10])

    def come_and_go(_: int) -> None:
        for at in range(500):
            begins(logs, ids[at % 10])
            ends(logs, ids[(at + 5) % 10])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda number: (come_and_go if number % 3 == 0 else talk)(number), range(6)))
    assert logs.entries == sum(len(logs.of(session_id)) for session_id in ids)
    for session_id in ids:
        ends(logs, session_id)
    assert (logs.entries, logs.bytes) == (0, 0)
