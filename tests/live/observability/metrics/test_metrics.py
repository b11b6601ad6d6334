"""The metrics of sessions on a real livekit-server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from livekit import api

from http_api.observability.metrics.awaited import GRACE
from manager_agent.session import events as ev
from manager_agent.session.session import SessionState
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import Human, over, ready_session
from tests.scraped_metrics import ScrapedMetrics, scrape
from tests.waiting import described, eventually

pytestmark = pytest.mark.live

BOTS = {"type": "BOT"}


async def shows(stack: Stack, wanted: Callable[[ScrapedMetrics], bool]) -> ScrapedMetrics:
    """What /metrics shows once it is as wanted."""
    return await eventually(described(wanted), lambda: scrape(stack.http), wanted, every=0.05)


async def test_metrics_count_a_session_with_a_replaced_service(stack: Stack) -> None:
    bots = {name: await stack.bot(name, ready_on="signal") for name in ("bot-1", "bot-2")}
    session_id = (await stack.request(BOTS))["session_id"]
    invited = await stack.until(session_id, lambda s: s.services[0].timeline.accepted is not None)
    first = bots.pop(invited.services[0].service_id)
    (second,) = bots.values()
    await first.join()
    await first.say_failed("out of memory")
    await second.invited()
    await second.join()
    await second.say_by_attribute()
    await stack.until(session_id, lambda s: s.state is SessionState.READY)
    user = Human()
    await user.join(await stack.view(session_id))
    await stack.until(session_id, lambda s: s.state is SessionState.ACTIVE)

    joins = {"event": "participant_joined"}  # of both bots and the user, and perhaps of the manager
    shown = await shows(stack, lambda s: s.total("session_manager_webhooks_received_total", **joins) >= 3)
    assert shown.by("state", "session_manager_sessions") == dict.fromkeys(SessionState, 0) | {"active": 1}
    assert shown.by("profile", "session_manager_session_time_to_ready_seconds_count") == {"none": 1}
    assert shown.total("session_manager_rooms_held") == 1
    assert shown.total("session_manager_manager_registered") == 1
    assert shown.by("outcome", "session_manager_invites_total") == {
        "accepted": 2,
        "declined": 0,
        "no_worker": 0,
        "unreachable": 0,
    }
    assert shown.total("session_manager_service_time_to_accept_seconds_count", type="BOT") == 2
    assert shown.total("session_manager_service_time_to_join_seconds_count", type="BOT") == 2
    assert shown.total("session_manager_service_time_to_ready_seconds_count", type="BOT") == 1
    assert shown.total("session_manager_services_ready_total") == 1
    assert shown.total("session_manager_services_ready_total", type="BOT", evidence="attribute") == 1
    assert shown.total("session_manager_service_replacements_total", type="BOT") == 1
    assert shown.total("session_manager_service_failures_total") == 1
    assert shown.total("session_manager_service_failures_total", type="BOT", reason="reported_failure") == 1
    assert shown.by("type", "session_manager_registered_services") == {"BOT": 2}
    # Of the session's room, and perhaps of the one that has the process that acts.
    assert shown.total("session_manager_webhooks_received_total", event="room_started") >= 1
    assert shown.by("event", "session_manager_webhook_lag_seconds_count")["room_started"] >= 1
    assert shown.by("event", "session_manager_webhook_lag_seconds_count")["participant_joined"] >= 3
    assert shown.total("session_manager_webhooks_missed_total") == 0

    await user.leave()
    async with stack.http.delete(f"/api/v1/sessions/{session_id}") as answer:
        assert answer.status == 200
    gone = await shows(stack, lambda shown: shown.total("session_manager_rooms_held") == 0)
    assert gone.total("session_manager_sessions", state="ended") == 1
    assert gone.total("session_manager_sessions_ended_total") == 1
    assert gone.total("session_manager_sessions_ended_total", state="ended", reason="closed") == 1
    assert gone.total("session_manager_service_failures_total") == 1, "nobody else has failed by that"
    assert gone.total("session_manager_event_loop_lag_seconds_count") > 0
    lag, told = (gone.by("event", f"session_manager_webhook_lag_seconds_{part}") for part in ("sum", "count"))
    for event, count in told.items():
        print(f"{event}: {count:.0f} webhooks, {1000 * lag[event] / count:.0f} ms after what they tell of")


async def test_rooms_deleted_over_the_livekit_api_count_no_missed_webhook(stack: Stack) -> None:
    """The next listing may find that a room is gone before the webhook arrives. LiveKit makes a room again for a client
    that reconnects, so it may report more than five."""
    for n in range(5):
        session = await ready_session(stack, await stack.bot(f"asr-{n}"))
        user = Human()
        await user.join(session)
        await stack.until(
            session["session_id"],
            lambda s: s.webhooks_arrive and s.manager.presence.here and s.state is SessionState.ACTIVE,
        )
        await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=session["room_name"]))
        await over(stack, session["session_id"])
        await user.leave()
    finished = {"event": "room_finished"}
    shown = await shows(stack, lambda s: s.total("session_manager_webhooks_received_total", **finished) >= 5)
    assert shown.total("session_manager_sessions_ended_total", reason="room_closed") == 5
    await asyncio.sleep(GRACE)  # a missed webhook is counted no sooner
    assert (await scrape(stack.http)).total("session_manager_webhooks_missed_total") == 0


async def test_room_gone_without_a_webhook_counts_a_missed_webhook(start_stack: StartStack, silent_site: Site) -> None:
    """One webhook has come, then none."""
    stack = await start_stack(silent_site)
    session = await ready_session(stack, await stack.bot("asr"))
    user = Human()
    await user.join(session)
    await stack.until(session["session_id"], lambda s: s.state is SessionState.ACTIVE)
    await stack.store.update(session["session_id"], ev.WebhookArrived(stack.clock()))
    await stack.manager.aclose()
    await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=session["room_name"]))
    await stack.new_reconciler().round()
    await over(stack, session["session_id"])
    await user.leave()
    missed = {"event": "room_finished"}
    shown = await shows(stack, lambda shown: shown.total("session_manager_webhooks_missed_total", **missed) > 0)
    assert shown.total("session_manager_webhooks_missed_total") == 1
    assert shown.total("session_manager_sessions_ended_total", reason="room_closed") == 1
    assert shown.total("session_manager_rooms_held") == 0
