"""A participant who floods the manager: what it leaves in the log, and that the room's services are still heard."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from livekit import api, rtc

from manager_agent.livekit import participant_budget
from manager_agent.livekit.participant_budget import BURST
from manager_agent.messages import TOPIC, RpcFault
from tests.live.conftest import KEY, SECRET, Stack
from tests.scraped_metrics import scrape

pytestmark = pytest.mark.live

EVIL = "\x1b[2J-a-topic-of-its-own"


async def test_flood_of_messages_leaves_one_log_entry_and_does_not_silence_services(
    stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participant_budget, "PER_SECOND", 0.0)  # a slow machine would send no more than is allowed
    bot = await stack.bot("asr", ready_on="signal")
    session_id = (await stack.request("asr"))["session_id"]
    session = await stack.until(session_id, lambda session: session.manager.presence.here)
    manager = session.manager.identity or ""
    grants = api.VideoGrants(room_join=True, room=session.room_name, can_update_own_metadata=True)
    mallory = rtc.Room()
    await mallory.connect(
        stack.site.livekit.url, api.AccessToken(KEY, SECRET).with_identity("mallory").with_grants(grants).to_jwt()
    )
    codes: list[int] = []

    async def call() -> None:
        try:
            await mallory.local_participant.perform_rpc(
                destination_identity=manager, method=TOPIC, payload='{"type": "ready", "detail": "a-word-of-mallory"}'
            )
        except rtc.RpcError as error:
            codes.append(error.code)

    try:
        with caplog.at_level(logging.INFO):
            await asyncio.gather(*(call() for _ in range(300)))
            for number in range(300):
                await mallory.local_participant.publish_data(b"rubbish", topic=TOPIC, destination_identities=[manager])
                with suppress(rtc.StreamError):
                    await mallory.local_participant.send_text("x", topic=EVIL, destination_identities=[manager])
                await mallory.local_participant.set_attributes({"noise": str(number)})
            await bot.join()
            await bot.say_by_rpc('{"type": "ready"}')
            await stack.until(session_id, lambda session: session.state == "ready")
            shown = await scrape(stack.http)
    finally:
        await mallory.disconnect()
    assert {RpcFault.UNKNOWN_CALLER, RpcFault.TOO_MANY} == set(codes)
    entries = [entry for entry in stack.log.getvalue().splitlines() if "mallory" in entry]
    assert len(entries) == 1, entries
    messages = shown.by("outcome", "session_manager_room_messages_total")
    assert messages["taken"] >= BURST
    assert messages["dropped"] >= 300 + 300 - BURST  # the RPCs and data messages; changes of attributes may be merged
    assert EVIL not in caplog.text
    assert "ignoring text stream" not in caplog.text + stack.log.getvalue()
