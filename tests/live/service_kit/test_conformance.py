"""The conformance check: a good service passes, and one that breaks a single rule fails that rule."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from livekit import rtc

from examples import asr_service
from manager_agent.livekit.room_connection import connect, disconnect
from manager_agent.messages import TOPIC
from manager_agent.outbound.signing import NotSigned, verify
from scripts.free_ports import free_port
from scripts.repository import ROOT
from service_kit import ServiceSettings
from service_kit.conformance import rules
from service_kit.conformance.harness import harness_for
from service_kit.conformance.options import Options, Timeouts
from service_kit.conformance.report import Broken, RuleVerdict, Unable
from service_kit.conformance.rules import Rule
from service_kit.conformance.runner import check
from tests.live.bots import CONNECT_TIMEOUT
from tests.live.conftest import KEY, SECRET, Site
from tests.manager_stand_in import ManagerStandIn
from tests.processes import finished

pytestmark = pytest.mark.live

SERVICE = "sloppy-service"
PATIENT = Timeouts(answer=30, join=60, ready=60, leave=60, watch=3, repeat=60)
"""For services that keep the rules. Only `watch` passes in any case: the others are enough for a busy machine."""
SHORT = Timeouts(answer=30, join=60, ready=60, leave=4, watch=60, repeat=5)
"""For services that break a rule: it is waited that long for what they do not do."""


@dataclass
class Sloppy:
    """A service written by hand that keeps every rule except those that its fields switch off."""

    verifies: bool = True
    joins_once: bool = True
    says_ready: bool = True
    repeats: bool = True
    stops_repeating: bool = True
    leaves: bool = True
    survives: bool = True
    ready_by: str = "rpc"
    invited: set[str] = field(default_factory=set)
    rooms: dict[str, rtc.Room] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    acked: set[str] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            if self.verifies:
                verify(body, request.headers.get("Authorization", ""), KEY, SECRET)
        except NotSigned:
            return web.Response(status=401)
        try:
            message = json.loads(body)
            session_id, event = message["session"]["session_id"], message["event"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return web.Response(status=400 if self.survives else 500)
        if event == "session_ended":
            self.over.add(session_id)
            if self.leaves and session_id in self.rooms:
                self.start(self.rooms[session_id].disconnect())
        elif session_id not in self.over and not (self.joins_once and message["id"] in self.invited):
            self.invited.add(message["id"])
            self.start(self.job(message, session_id))
        return web.Response()

    async def job(self, invite: dict[str, Any], session_id: str) -> None:
        room = rtc.Room()
        room.on("data_received", lambda packet: self.acked.add(json.loads(packet.data)["invite_id"]))
        await connect(
            room, invite["server_url"], invite["token"], rtc.RoomOptions(auto_subscribe=False), CONNECT_TIMEOUT
        )
        self.rooms[session_id] = room
        if session_id in self.over and self.leaves:
            await disconnect(room)
        elif self.says_ready:
            await getattr(self, f"say_by_{self.ready_by}")(room, invite)

    async def say_by_rpc(self, room: rtc.Room, invite: dict[str, Any]) -> None:
        while room.isconnected():
            manager = json.loads(room.metadata)["manager_identity"]
            try:
                await room.local_participant.perform_rpc(
                    destination_identity=manager,
                    method=TOPIC,
                    payload='{"type": "ready"}',
                    response_timeout=2,
                    max_round_trip_latency=1,
                )
                heard_by: str | None = manager
            except rtc.RpcError:
                heard_by = None
            if not self.repeats:
                return
            await asyncio.sleep(0.2)
            while self.stops_repeating and heard_by == json.loads(room.metadata)["manager_identity"]:
                await asyncio.sleep(0.1)

    async def say_by_data(self, room: rtc.Room, invite: dict[str, Any]) -> None:
        said = json.dumps({"type": "ready", "service_id": SERVICE, "invite_id": invite["id"]})
        while room.isconnected() and invite["id"] not in self.acked:
            await room.local_participant.publish_data(
                said, topic=TOPIC, destination_identities=[invite["manager_identity"]]
            )
            await asyncio.sleep(0.2)

    async def say_by_attribute(self, room: rtc.Room, invite: dict[str, Any]) -> None:
        await room.local_participant.set_attributes({"session.state": "ready"})

    async def say_by_http(self, room: rtc.Room, invite: dict[str, Any]) -> None:
        url = f"{self.manager_url}/api/v1/sessions/{invite['session']['session_id']}/ready"
        headers = {"Authorization": f"Bearer {invite['token']}"}
        async with aiohttp.ClientSession() as http:
            while room.isconnected():
                async with http.post(url, json={"service_id": SERVICE}, headers=headers) as answer:
                    if answer.ok:
                        return
                await asyncio.sleep(0.2)

    manager_url: str = ""

    def start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_post("/", self.take)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await asyncio.gather(*(disconnect(room) for room in self.rooms.values()))
            await runner.cleanup()


async def verdicts(
    site: Site, service: Sloppy, *which: Rule, timeouts: Timeouts = PATIENT, **more: Any
) -> dict[str, tuple[RuleVerdict, str]]:
    """The verdict and reason of these rules, or of all, by name."""
    async with service.serving() as endpoint:
        options = Options(endpoint, service_id=SERVICE, livekit=site.livekit.url, timeouts=timeouts, **more)
        async with harness_for(options) as harness:
            outcomes = await check(harness, which or rules.RULES)
    return {outcome.rule: (outcome.verdict, outcome.reason) for outcome in outcomes}


async def test_example_service_passes_the_conformance_program(silent_site: Site) -> None:
    settings = {"_env_file": None, "invite_api_key": KEY, "invite_api_secret": SECRET}
    async with ManagerStandIn() as manager:
        service = ServiceSettings(session_manager_url=manager.url, **settings)  # type: ignore[arg-type]
        async with asr_service.service.serving(service) as endpoint:
            code, output = await program(
                endpoint, "--service-id", "asr-service", "--livekit", silent_site.livekit.url, "--json"
            )
    said = json.loads(output)
    assert code == 0, output
    assert said["passed"]
    assert [rule["verdict"] for rule in said["rules"]] == ["passed"] * len(rules.RULES)


async def program(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service_kit.check", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await finished(process, "the conformance program")
    assert process.returncode is not None
    return process.returncode, (output or errors).decode()


async def test_conformance_program_exits_with_1_without_a_service(silent_site: Site) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}/"
    code, output = await program(endpoint, "--livekit", silent_site.livekit.url)
    assert code == 1
    assert sum("can't be reached" in line and "failed" in line for line in output.splitlines()) == len(rules.RULES)


async def test_conformance_program_exits_with_2_without_livekit() -> None:
    code, output = await program("http://127.0.0.1:1/", "--livekit", f"ws://127.0.0.1:{free_port()}")
    assert code == 2
    assert output.startswith("could not run the check: LiveKit at ws://127.0.0.1:")


async def test_service_written_by_hand_passes_the_conformance_rules(silent_site: Site) -> None:
    came = await verdicts(silent_site, Sloppy())
    assert [verdict for verdict, _ in came.values()] == [RuleVerdict.KEPT] * len(rules.RULES), came


@pytest.mark.parametrize("way", ["data", "attribute", "http"])
async def test_ready_signal_may_use_data_attribute_or_http(way: str, silent_site: Site) -> None:
    listen = free_port()
    service = Sloppy(ready_by=way, manager_url=f"http://127.0.0.1:{listen}")
    came = await verdicts(silent_site, service, rules.invited, rules.not_acknowledged, listen=listen)
    assert [verdict for verdict, _ in came.values()] == [RuleVerdict.KEPT] * 2, came
    assert came["invited"][1] == f"ready by {'message' if way == 'data' else way}"


@pytest.mark.parametrize(
    ("service", "rule", "reason"),
    [
        (Sloppy(verifies=False), rules.bad_signature, "no signature: answered 200, not 401 or 403"),
        (Sloppy(joins_once=False), rules.invited_twice, "times for one invite"),
        (Sloppy(leaves=False), rules.ended, "still in the room 4 s later"),
        (Sloppy(leaves=False), rules.ended_early, "still in the room 4 s later"),
        (Sloppy(leaves=False), rules.invited_late, "still in the room 4 s later"),
        (Sloppy(says_ready=False), rules.invited, "did not signal ready within 3 s"),
        (Sloppy(repeats=False), rules.not_acknowledged, "signaled ready 1 times within 5 s"),
        (Sloppy(repeats=False), rules.manager_replaced, "did not signal ready to the next manager"),
        (Sloppy(stops_repeating=False), rules.invited, "kept signaling ready after the acknowledgement"),
        (Sloppy(survives=False), rules.rubbish, "an empty body: answered 500"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_service_that_breaks_a_rule_fails_the_rule(
    service: Sloppy, rule: Rule, reason: str, silent_site: Site
) -> None:
    timeouts = SHORT if service.says_ready else replace(SHORT, ready=3)
    ((verdict, said),) = (await verdicts(silent_site, service, rule, timeouts=timeouts)).values()
    assert verdict is RuleVerdict.BROKEN
    assert reason in said


async def test_unknown_livekit_keys_are_not_a_rule_violation(silent_site: Site) -> None:
    options = Options("http://127.0.0.1:1/", livekit=silent_site.livekit.url, livekit_secret=SECRET[::-1])
    with pytest.raises(Unable):
        async with harness_for(options):
            pytest.fail("it is of no use")


async def test_silent_service_is_given_up_after_the_answer_timeout(silent_site: Site) -> None:
    class Silent(Sloppy):
        async def take(self, request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            return web.Response()

    async with Silent().serving() as endpoint:
        options = Options(endpoint, livekit=silent_site.livekit.url, timeouts=Timeouts(answer=0.2))
        async with harness_for(options) as harness:
            with pytest.raises(Broken, match=r"did not answer within 0\.2 s"):
                await harness.post(b"{}")
