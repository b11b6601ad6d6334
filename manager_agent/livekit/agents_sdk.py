"""What this project uses of livekit-agents, imported without the rest. Import it from here.

`import livekit.agents` imports all that voice agents are made of, such as models (openai) and codecs (PyAV), and
`livekit.agents.telemetry` how it exports their traces, logs and metrics (OpenTelemetry, requests). AgentServer uses
none of it, and it took a third of the memory of the process and half of its start; see benchmarks/process_start.py.
tests/unit/livekit/test_agents_sdk.py fails if a new version loads it all the same.
"""

from manager_agent.deferred_modules import defer_modules
from manager_agent.deferred_packages import deferred_packages
from manager_agent.deferred_values import deferred_values

AUDIO = ("AudioArrayBuffer", "AudioBuffer", "combine_frames", "merge_frames")
TELEMETRY = (
    "gen_ai", "http_server", "input_delta", "loop_monitor", "otel_metrics", "pii", "rpc", "session_context", "traces",
    "utils",
)  # fmt: skip
JOBS = ("job_proc_lazy_main",)
"""What runs a job in a process or thread of its own; ours are coroutines, see jobs.py."""

defer_modules("livekit.agents.utils", {"audio": AUDIO})  # it loads numpy
with (
    deferred_packages("livekit.agents", "livekit.agents.utils.codecs"),
    deferred_values("livekit.agents.telemetry", *TELEMETRY),
    deferred_values("livekit.agents.ipc", *JOBS),
):
    from livekit.agents.ipc.job_executor import JobStatus
    from livekit.agents.job import JobContext, JobExecutorType, JobRequest, RunningJobInfo
    from livekit.agents.utils import http_context
    from livekit.agents.worker import AgentServer, WorkerPermissions

__all__ = [
    "AgentServer",
    "JobContext",
    "JobExecutorType",
    "JobRequest",
    "JobStatus",
    "RunningJobInfo",
    "WorkerPermissions",
    "http_context",
]
