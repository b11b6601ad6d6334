"""The programs in docs/backends.md and the clients in docs/api.md, as they stand."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import shutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from scripts.free_ports import free_port
from scripts.prerequisites import PrerequisiteMissing
from tests.api.eager_services import decide_at_once
from tests.api.stand_ins import Api
from tests.documents import code_blocks, code_in
from tests.prerequisites import prerequisite
from tests.waiting import eventually

pytestmark = pytest.mark.api


class StandInFlask:
    """As much of Flask as the program uses: it is no dependency of this project."""

    def __init__(self, _name: str) -> None:
        self.handlers = dict[str, Callable[[], Any]]()

    def post(self, path: str) -> Callable[[Callable[[], Any]], None]:
        return lambda handler: self.handlers.update({path: handler})


@pytest.fixture
async def serving_api(api: Api) -> Api:
    await api.register("asr-service")
    decide_at_once(api.parts.store)
    return api


def program(language: str) -> str:
    [code] = code_in("docs/backends.md", language)
    return code


async def test_documented_flask_back_end_gets_a_token(serving_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    flask: Any = ModuleType("flask")
    flask.Flask, flask.jsonify = StandInFlask, dict
    monkeypatch.setitem(sys.modules, "flask", flask)
    monkeypatch.setenv("SESSION_MANAGER_URL", f"http://127.0.0.1:{serving_api.port}")
    names: dict[str, Any] = {"__name__": "backend"}
    exec(compile(program("python"), "backends.md", "exec"), names)
    session = names["app"].handlers["/session"]
    told = await asyncio.to_thread(session)
    assert (told.keys(), told["token"][:3]) == ({"url", "token"}, "eyJ")
    await serving_api.ask("DELETE", "/microservices/asr-service")
    refused, status = await asyncio.to_thread(session)
    assert (status, "asr-service" in refused["error"]) == (424, True)


async def test_documented_python_clients_get_a_token(serving_api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    for block in [block for block in code_blocks("python") if block.page == "docs/api.md"]:
        text = block.code.replace("http://localhost:8080", f"http://127.0.0.1:{serving_api.port}")
        code = compile(text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, {"key": None})
        else:
            await asyncio.to_thread(exec, code, {"key": None})
        assert capsys.readouterr().out.startswith("eyJ")


async def test_documented_node_back_end_gets_a_token(serving_api: Api) -> None:
    with prerequisite():
        if (node := shutil.which("node")) is None:
            raise PrerequisiteMissing("node is not on the PATH")
    port = free_port()
    mine = {"SESSION_MANAGER_URL": f"http://127.0.0.1:{serving_api.port}", "PORT": str(port)}
    command = (node, "--input-type=module", "--eval", program("js"))
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | mine)
    try:

        async def answer() -> Any:
            try:
                async with serving_api.http.post(f"http://127.0.0.1:{port}/") as answered:
                    return answered.status, await answered.json()
            except aiohttp.ClientConnectorError:
                return None

        status, told = await eventually("the back end to answer", answer, lambda got: got is not None, every=0.05)
        assert (status, told.keys(), told["token"][:3]) == (201, {"url", "token"}, "eyJ")
    finally:
        process.kill()
        await process.wait()
