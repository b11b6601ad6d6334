"""`session-manager doctor` on healthy and broken servers: findings, advice and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from livekit import api
from pydantic import SecretStr

from http_api.settings.settings import Settings
from scripts.free_ports import free_port
from scripts.livekit_server import LiveKitServer
from scripts.repository import ROOT
from tests.live.conftest import KEY, SECRET, Site, Stack, StartStack, room_names
from tests.processes import finished

pytestmark = pytest.mark.live

FINE, NO, USAGE = 0, 1, 2
ALWAYS = {
    "port", "interface", "livekit", "clock", "livekit keys", "room.auto_create", "livekit version", "stun", "webhooks",
}  # fmt: skip


async def doctor(url: str, port: int, *options: str, **env: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    pipe, code = asyncio.subprocess.PIPE, "from http_api.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "doctor", *options),
        cwd=ROOT,
        env=os.environ | {"LIVEKIT_SERVER_URL": url, "SERVER_PORT": str(port)} | env,
        stdout=pipe,
        stderr=pipe,
    )
    out, err = await finished(process, "the doctor")
    assert process.returncode is not None
    assert "Traceback" not in err.decode(), err.decode()
    return process.returncode, out.decode(), err.decode()


async def verdicts(url: str, port: int, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and each finding by its check."""
    code, out, err = await doctor(url, port, "--dev", "--json", **env)
    assert err == ""
    document = json.loads(out)
    assert document["ok"] == (code == FINE)
    found = {finding["check"]: finding for finding in document["checks"]}
    for finding in found.values():
        assert bool(finding["mend"]) == (finding["verdict"] in ("warning", "wrong")), finding
    return code, found


def those(found: dict[str, dict[str, Any]], verdict: str) -> set[str]:
    return {check for check, finding in found.items() if finding["verdict"] == verdict}


async def rooms(site: Site) -> list[str]:
    async with api.LiveKitAPI(site.livekit.url, KEY, SECRET) as livekit:
        return await room_names(livekit)


async def test_doctor_uses_a_running_session_manager_as_proof(stack: Stack) -> None:
    code, found = await verdicts(stack.site.livekit.url, stack.site.api_port)
    assert (code, those(found, "ok")) == (FINE, ALWAYS | {"sessions"})
    assert "1.13" in found["livekit version"]["says"]


async def test_doctor_authenticates_with_the_livekit_key(start_stack: StartStack, site: Site) -> None:
    await start_stack(
        site, kind=Settings, livekit_api_key=KEY, livekit_api_secret=SecretStr(SECRET), server_host="127.0.0.1"
    )
    env = {"LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET, "SERVER_HOST": "127.0.0.1"}
    code, out, _ = await doctor(site.livekit.url, site.api_port, **env)
    assert code == FINE, out
    assert "a test session took" in out
    assert "short enough to be guessed" in out


async def test_doctor_receives_webhooks_where_no_session_manager_runs(site: Site) -> None:
    before = await rooms(site)
    code, found = await verdicts(site.livekit.url, site.api_port)
    assert (code, those(found, "ok")) == (FINE, ALWAYS)
    assert "is free" in found["port"]["says"]
    assert await rooms(site) == before


async def test_doctor_reports_missing_webhooks(silent_site: Site) -> None:
    code, found = await verdicts(silent_site.livekit.url, silent_site.api_port)
    assert (code, those(found, "wrong")) == (NO, {"webhooks"})
    assert "webhook.urls" in found["webhooks"]["mend"]
    assert str(silent_site.api_port) in found["webhooks"]["mend"]


async def test_doctor_reports_webhooks_missing_at_a_running_session_manager(
    start_stack: StartStack, silent_site: Site
) -> None:
    await start_stack(silent_site)
    code, found = await verdicts(silent_site.livekit.url, silent_site.api_port)
    assert (code, those(found, "wrong"), those(found, "skipped")) == (NO, {"webhooks"}, set())


async def test_doctor_reports_a_wrong_secret_without_showing_it(site: Site) -> None:
    secret = "another-secret-of-thirty-two-characters"
    code, found = await verdicts(site.livekit.url, free_port(), LIVEKIT_API_SECRET=secret)
    assert (code, those(found, "wrong")) == (NO, {"livekit keys"})
    assert "LIVEKIT_API_SECRET" in found["livekit keys"]["mend"]
    assert secret not in json.dumps(found)


async def test_doctor_reports_an_unreachable_livekit() -> None:
    code, found = await verdicts(f"ws://127.0.0.1:{free_port()}", free_port())
    assert (code, those(found, "wrong")) == (NO, {"livekit"})
    assert those(found, "skipped") == ALWAYS - {"livekit", "port", "interface"}


async def test_doctor_reports_a_port_in_use(site: Site) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        code, found = await verdicts(site.livekit.url, other.getsockname()[1])
    assert (code, those(found, "wrong"), those(found, "skipped")) == (NO, {"port"}, {"webhooks"})
    assert "SERVER_PORT" in found["port"]["mend"]


async def test_doctor_warns_of_unfit_livekit_settings(livekit_binary: Path, tmp_path: Path) -> None:
    """room.auto_create, STUN servers that do not resolve, and webhooks signed with another key."""
    port, log = free_port(), tmp_path / "server.log"
    server = LiveKitServer(
        livekit_binary, port=free_port(), webhook_url=f"http://127.0.0.1:{port}/livekit/webhook", log=log
    )
    path = log.with_suffix(".config.yaml")
    config = yaml.safe_load(path.read_text())
    config["room"]["auto_create"] = True
    config["rtc"]["stun_servers"] = ["stun.invalid:3478"]
    config["keys"]["other"] = "another-secret-of-thirty-two-characters"
    config["webhook"]["api_key"] = "other"
    path.write_text(yaml.safe_dump(config))
    async with server:
        code, found = await verdicts(server.url, port)
    assert (those(found, "warning"), those(found, "wrong"), code) == ({"room.auto_create", "stun"}, {"webhooks"}, NO)
    assert "webhook.api_key" in found["webhooks"]["mend"]


async def test_doctor_names_missing_settings(site: Site) -> None:
    code, _, err = await doctor(site.livekit.url, site.api_port, LIVEKIT_API_KEY="", LIVEKIT_API_SECRET="")
    assert code == USAGE
    assert "LIVEKIT_API_SECRET" in err
