"""Background tasks: what is logged when one of them raises."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from manager_agent.tasks import Tasks

pytestmark = pytest.mark.unit


async def fails(**about: str) -> None:
    bind_contextvars(**about)
    raise RuntimeError("as the test wants it")


async def test_a_failed_task_is_logged_with_the_context_it_has_bound() -> None:
    """What the task has bound wins over what its creator had bound."""
    tasks = Tasks()
    with capture_logs(processors=[merge_contextvars]) as logs:
        with bound_contextvars(session_id="ses_1", room="demo"):
            task = tasks.spawn(fails(room="another"), name="s1 control loop")
        await asyncio.wait([task])
        await tasks.aclose()
        structlog.get_logger().info("after")
    failed, after = logs
    assert (failed["event"], failed["task"]) == ("task_failed", "s1 control loop")
    assert (failed["session_id"], failed["room"]) == ("ses_1", "another")
    assert "session_id" not in after


async def test_a_task_shared_by_all_requests_does_not_log_the_context_of_its_creator() -> None:
    async def says(event: str) -> None:
        structlog.get_logger().info(event)

    tasks = Tasks()
    with capture_logs(processors=[merge_contextvars]) as logs, bound_contextvars(request_id="req_1"):
        await tasks.spawn(says("own"), name="own")
        await tasks.spawn(says("shared"), name="shared", for_all=True)
    assert [(entry["event"], entry.get("request_id")) for entry in logs] == [("own", "req_1"), ("shared", None)]
