"""Heartbeats of streams: each is due HEARTBEAT seconds after the last event, with one timer for all streams."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from http_api.streams.heartbeats import HEARTBEAT, Heartbeats
from tests.unit.virtual_time import in_virtual_time, let_pass, now, stand_still
from tests.unit.waits import let_others_run

pytestmark = pytest.mark.unit


class CountedStream:
    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self._begun, self._then = now(), then
        self.beats: list[float] = []
        """When, in seconds since it was made."""

    async def send_heartbeat(self) -> None:
        self.beats.append(now() - self._begun)
        if self._then is not None:
            self._then()


def is_gone() -> None:
    raise ConnectionResetError


@in_virtual_time
async def test_a_stream_without_events_has_a_heartbeat_every_fifteen_seconds() -> None:
    heartbeats, stream = Heartbeats(), CountedStream()
    heartbeats.restart(stream)
    await let_pass(3.5 * HEARTBEAT)
    assert stream.beats == [HEARTBEAT, 2 * HEARTBEAT, 3 * HEARTBEAT]
    await heartbeats.aclose()


@in_virtual_time
async def test_each_event_puts_the_heartbeat_of_its_stream_off() -> None:
    heartbeats, busy, idle = Heartbeats(), CountedStream(), CountedStream()
    heartbeats.restart(busy)
    await let_pass(1)
    heartbeats.restart(idle)
    await let_pass(9)
    heartbeats.restart(busy)
    await let_pass(HEARTBEAT + 1)
    assert (busy.beats, idle.beats) == ([10 + HEARTBEAT], [1 + HEARTBEAT])
    await heartbeats.aclose()


@in_virtual_time
async def test_a_stream_that_was_stopped_has_no_heartbeat_until_it_is_restarted() -> None:
    heartbeats, stream = Heartbeats(), CountedStream()
    heartbeats.stop(stream)
    heartbeats.restart(stream)
    await let_pass(1)
    heartbeats.stop(stream)
    await let_pass(2 * HEARTBEAT)
    assert stream.beats == []
    heartbeats.restart(stream)
    await let_pass(HEARTBEAT)
    await let_others_run()
    assert stream.beats == [1 + 3 * HEARTBEAT]
    await heartbeats.aclose()


@in_virtual_time
async def test_streams_that_end_or_send_while_heartbeats_are_sent_get_none() -> None:
    heartbeats = Heartbeats()
    ends, sends, waits = CountedStream(), CountedStream(), CountedStream()

    def meanwhile() -> None:
        stand_still(1)
        heartbeats.stop(ends)
        heartbeats.restart(sends)

    for stream in (CountedStream(meanwhile), ends, sends, waits):
        heartbeats.restart(stream)
    await let_pass(HEARTBEAT)
    await let_others_run()
    assert (ends.beats, sends.beats, waits.beats) == ([], [], [HEARTBEAT + 1])
    await heartbeats.aclose()


@in_virtual_time
async def test_a_client_that_is_gone_keeps_no_heartbeat_from_others() -> None:
    heartbeats, gone, other = Heartbeats(), CountedStream(is_gone), CountedStream()
    heartbeats.restart(gone)
    heartbeats.restart(other)
    await let_pass(HEARTBEAT)
    await let_others_run()
    assert (gone.beats, other.beats) == ([HEARTBEAT], [HEARTBEAT])
    await heartbeats.aclose()


@in_virtual_time
async def test_closed_heartbeats_send_nothing_any_more() -> None:
    heartbeats, stream = Heartbeats(), CountedStream()
    heartbeats.restart(stream)
    await heartbeats.aclose()
    await let_pass(2 * HEARTBEAT)
    assert stream.beats == []
