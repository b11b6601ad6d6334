"""The pure parts of the conformance check: arguments, reports, and the invalid messages it sends."""

from __future__ import annotations

import io
import json

import aiohttp
import pytest
from livekit import api, rtc
from rich.console import Console

from manager_agent.messages import ReadyOn, RpcFault
from manager_agent.outbound.signing import NotSigned, verify
from scripts.free_ports import free_port
from service_kit.check import main
from service_kit.conformance.fake_manager import FakeManager
from service_kit.conformance.harness import Harness, listening
from service_kit.conformance.invalid_messages import FORGERIES, invalid_messages_for
from service_kit.conformance.options import Options, Timeouts
from service_kit.conformance.report import RuleOutcome, RuleVerdict, as_json, exit_code, show
from service_kit.conformance.rules import RULES, name_of
from tests.manager_stand_in import KEY, SECRET, invite

pytestmark = pytest.mark.unit

ENDPOINT = "http://asr:9000/"
KEPT = RuleOutcome("invited", "accepts", RuleVerdict.KEPT, "ready by message", 1.25)
BROKEN = RuleOutcome(
    "bad signature", "refuses", RuleVerdict.BROKEN, "rubbish [/bold]: answered 200, not 401 or 403", 0.5
)
SKIPPED = RuleOutcome("not acknowledged", "repeats", RuleVerdict.SKIPPED, "it is ready by joining", 0.0)


def test_on_one_machine_the_check_needs_only_the_address() -> None:
    options = Options.from_command_line([ENDPOINT])
    assert options == Options(ENDPOINT)
    assert (options.key, options.livekit, options.timeouts) == ("devkey", "ws://localhost:7880", Timeouts())


def test_every_argument_of_the_check_is_applied() -> None:
    arguments = (
        f"{ENDPOINT} --service-id asr --ready-on join --key k --secret s3cret --livekit wss://lk --livekit-key lk"
        " --livekit-secret lks3cret --ready-timeout 90 --listen 8080 --api-key s3cret --json"
    )
    options = Options.from_command_line(arguments.split())
    timeouts = Timeouts(ready=90)
    assert options == Options(
        ENDPOINT, "asr", ReadyOn.JOIN, "k", "s3cret", "wss://lk", "lk", "lks3cret", 8080, "s3cret", True, timeouts
    )
    assert "s3cret" not in repr(options)


@pytest.mark.parametrize(
    "arguments",
    ["", "asr:9000", "ftp://asr", "http://", f"{ENDPOINT} --livekit http:/", f"{ENDPOINT} --livekit ftp://lk"]
    + [f"{ENDPOINT} {wrong}" for wrong in ("--ready-on soon", "--ready-timeout 0", "--listen here", "--unknown")],
)
def test_invalid_arguments_of_the_check_exit_with_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments.split())
    assert exited.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_skipped_rule_does_not_fail_the_check() -> None:
    assert exit_code([KEPT, SKIPPED]) == 0
    assert exit_code([KEPT, BROKEN, SKIPPED]) == 1


def test_the_report_has_a_line_for_each_rule_and_escapes_markup() -> None:
    output = io.StringIO()
    show(ENDPOINT, [KEPT, BROKEN, SKIPPED], Console(file=output, width=120))
    lines = [line.split(maxsplit=1) for line in output.getvalue().splitlines()[1:]]
    assert [first for first, _ in lines] == ["passed", "failed", "skipped", "1"]
    assert "rubbish [/bold]: answered 200" in lines[1][1]
    assert lines[-1][1].strip() == "passed, 1 failed, 1 skipped"


def test_the_report_can_be_rendered_as_json() -> None:
    said = json.loads(as_json(ENDPOINT, [KEPT, BROKEN]))
    assert (said["endpoint"], said["passed"]) == (ENDPOINT, False)
    assert said["rules"][0] == {
        "rule": "invited", "asks": "accepts", "verdict": "passed", "reason": "ready by message", "seconds": 1.25,
    }  # fmt: skip


def test_every_rule_has_a_name_and_a_one_line_description() -> None:
    assert len({name_of(rule) for rule in RULES}) == len(RULES)
    assert all(rule.__doc__ and "\n" not in rule.__doc__ for rule in RULES)


async def test_the_kit_refuses_every_forgery_and_accepts_the_right_signature() -> None:
    async with aiohttp.ClientSession() as http, api.LiveKitAPI("http://localhost:1", KEY, SECRET, session=http) as lk:
        harness = Harness(Options(ENDPOINT, key=KEY, secret=SECRET), http, lk)
        body = b"{}"
        verify(body, harness.signature(body), KEY, SECRET)
        for name, forge in FORGERIES.items():
            taken = True
            try:
                verify(body, forge(harness, body), KEY, SECRET)
            except NotSigned:
                taken = False
            assert not taken, name


@pytest.mark.parametrize(
    ("asked_for", "sent", "status"),
    [(None, {}, 201), (None, {"Authorization": "Bearer any"}, 201), ("sm_key", {"Authorization": "Bearer sm_key"}, 201),
     ("sm_key", {"Authorization": "Bearer other"}, 401), ("sm_key", {}, 401)],
)  # fmt: skip
async def test_a_service_registers_with_the_check_as_with_a_manager(
    asked_for: str | None, sent: dict[str, str], status: int
) -> None:
    options = Options(ENDPOINT, key=KEY, secret=SECRET, listen=free_port(), api_key=asked_for)
    async with (
        aiohttp.ClientSession() as http,
        api.LiveKitAPI("http://localhost:1", KEY, SECRET, session=http) as lk,
        listening(options, Harness(options, http, lk)),
        http.post(f"http://localhost:{options.listen}/api/v1/microservices/register", json={}, headers=sent) as answer,
    ):
        assert answer.status == status


def test_the_invalid_bodies_of_the_check_are_not_invites() -> None:
    bodies = invalid_messages_for(invite())
    assert len(set(bodies.values())) == len(bodies)
    assert invite().model_dump_json().encode() not in bodies.values()


@pytest.mark.parametrize(
    ("caller", "payload", "acknowledges", "code"),
    [
        ("sm-asr-1", "rubbish", True, RpcFault.UNREADABLE),
        ("eve", '{"type": "ready"}', True, RpcFault.UNKNOWN_CALLER),
        ("sm-asr-1", '{"type": "ready"}', False, RpcFault.UNKNOWN_CALLER),
    ],
)
async def test_the_fake_manager_refuses_rpcs_with_the_codes_of_the_manager(
    caller: str, payload: str, acknowledges: bool, code: RpcFault
) -> None:
    """A signal that is not acknowledged is answered as one of an invite that the manager does not know yet."""
    manager = FakeManager("sm-asr-1", ignoring=0 if acknowledges else 1)
    with pytest.raises(rtc.RpcError) as refused:
        await manager._on_call(rtc.RpcInvocationData("1", caller, payload, 1.0))
    assert refused.value.code == code
