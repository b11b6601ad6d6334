"""What of livekit-agents is loaded with AgentServer, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit

NEVER_NEEDED = (
    "av", "livekit.agents.cli", "livekit.agents.llm", "livekit.agents.voice", "numpy", "openai", "opentelemetry",
    "requests",
)  # fmt: skip


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_agent_server_is_loaded_without_what_voice_agents_are_made_of() -> None:
    loaded = run("import sys, manager_agent.livekit.agent_server; print(*sys.modules)").split()
    assert "livekit.agents.worker" in loaded
    assert [name for name in NEVER_NEEDED if name in loaded] == []


def test_the_rest_of_livekit_agents_can_be_had_later() -> None:
    """For programs that use both, in one process: the package is whole, and its classes are the same."""
    whole = run(
        "from manager_agent.livekit.agents_sdk import AgentServer\n"
        "from livekit.agents.voice import Agent\n"
        "from livekit import agents\n"
        "print(agents.AgentServer is AgentServer, agents.Agent is Agent, agents.utils.codecs.AudioStreamDecoder)\n"
        "print(agents.utils.combine_frames is agents.utils.audio.combine_frames)\n"
        "print(agents.telemetry.tracer is agents.telemetry.traces.tracer)\n"
        "print(agents.job.session_context.session_span.__module__, agents.job._BufferingHandler().level)"
    )
    assert whole.splitlines() == [
        "True True <class 'livekit.agents.utils.codecs.decoder.AudioStreamDecoder'>",
        "True",
        "True",
        "livekit.agents.telemetry.session_context 0",
    ]
