"""Sites with replicas."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.replicas.replica_site import ReplicaSite
from tests.redis_server import require_redis

PROBLEM = re.compile(r"\[(warning|error|critical) *\]|Error: ")
SHOWN = 20
"""Lines of each log."""

StartSite = Callable[..., Awaitable[ReplicaSite]]


@pytest.fixture
async def start_site(livekit_binary: Path, tmp_path: Path) -> AsyncIterator[StartSite]:
    """Start a site: `await start_site(replicas=2)`. A failed test shows what its replicas logged last."""
    require_redis()
    async with AsyncExitStack() as sites:

        async def start(**how: Any) -> ReplicaSite:
            return await sites.enter_async_context(ReplicaSite(tmp_path, **how))

        yield start
    for log in sorted(tmp_path.glob("replica-*.log")):
        problems = [line for line in log.read_text(errors="replace").splitlines() if PROBLEM.search(line)]
        print(f"{log.name}: {len(problems)} problems", *problems[-SHOWN:], sep="\n")  # pytest shows it of a failed test
