"""What is said where nothing can be written, when the services are there, and how long the first token took."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from http_api.models.responses import ServiceView
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.selection import InstanceStatus
from manager_agent.registry.services import RegisteredService
from scripts import livekit_build
from scripts.demo import are_registered, time_taken
from scripts.livekit_build import LiveKitServerError, find_or_build
from session_manager_client.models import ServiceInfo
from tests.unit.session_manager_client.received import received

pytestmark = pytest.mark.unit


def test_a_folder_that_cannot_be_written_is_named_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a file" / ".livekit"  # nothing can be made in it, not even by root
    home.parent.touch()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(livekit_build, "BUILD_HOME", home)
    monkeypatch.setattr(livekit_build, "BUILT", home / "livekit-server")
    with pytest.raises(LiveKitServerError) as raised:
        find_or_build()
    assert f"can't be built in {home}: Not a directory. Put livekit-server v" in str(raised.value)


def known_at(service_id: str, port: int) -> ServiceInfo:
    instance = Instance(RegisteredService(service_id, "ASR", f"http://127.0.0.1:{port}/"))
    return received(ServiceView.of(InstanceStatus(instance, InstanceState.HEALTHY, 0)), ServiceInfo)


def test_services_of_an_earlier_run_are_no_sign_that_those_of_the_demo_are_there() -> None:
    ports = {"asr-service": 9001, "llm-service": 9002}
    asr, llm, old_asr, other = (
        known_at(*one) for one in (*ports.items(), ("asr-service", 8001), ("node-service", 8002))
    )
    assert are_registered([asr, llm, other], ports)
    assert not are_registered([old_asr, llm, other], ports)
    assert not are_registered([asr, other], ports)


def test_the_time_to_the_first_token_names_the_part_that_can_be_saved() -> None:
    assert time_taken(12.4, 0.0) == "The token came 12 s after the start"
    assert time_taken(231.0, 151.0).startswith("The token came 231 s after the start, 151 s of them to build livekit-")
