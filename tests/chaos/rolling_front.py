"""What stands before the processes of a deployment, of which the newest acts."""

from __future__ import annotations

from tests.live.manager_process import ManagerProcess
from tests.tcp_front import TcpFront


class RollingFront(TcpFront):
    """Forwards connections to the newest process of `processes` that is ready, else to the newest."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[ManagerProcess] = []
        """Oldest first."""

    async def target(self) -> int:
        for process in reversed(self.processes):
            if await process.is_ready():
                return process.port
        return self.processes[-1].port
