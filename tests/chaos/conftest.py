"""Chaos tests: a session manager in a process of its own, against a real livekit-server."""

from __future__ import annotations

from tests.live.conftest import no_room_outlives_its_loop as no_room_outlives_its_loop
