"""What is said where nothing can be written, and how long the first token took."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts import livekit_server
from scripts.demo import time_taken
from scripts.livekit_server import LiveKitServerError, find_or_build

pytestmark = pytest.mark.unit


def test_a_folder_that_cannot_be_written_is_named_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a file" / ".livekit"  # nothing can be made in it, not even by root
    home.parent.touch()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(livekit_server, "BUILD_HOME", home)
    monkeypatch.setattr(livekit_server, "BUILT", home / "livekit-server")
    with pytest.raises(LiveKitServerError) as raised:
        find_or_build()
    assert f"can't be built in {home}: Not a directory. Put livekit-server v" in str(raised.value)


def test_the_time_to_the_first_token_names_the_part_that_can_be_saved() -> None:
    assert time_taken(12.4, 0.0) == "The token came 12 s after the start"
    assert time_taken(231.0, 151.0).startswith("The token came 231 s after the start, 151 s of them to build livekit-")
