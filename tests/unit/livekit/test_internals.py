"""The internals of livekit and livekit-agents that ffi.py, event_routing.py and jobs.py lean on: fails loudly when they
move."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from livekit import rtc
from livekit.agents import AgentServer, JobContext, JobExecutorType
from livekit.agents import worker as agents_worker
from livekit.agents.ipc.job_executor import JobStatus
from livekit.rtc import _ffi_client

from manager_agent.livekit import jobs
from tests.unit.virtual_time import in_virtual_time, now
from tests.unit.waits import let_others_run, never
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit

MET_BEFORE_IT_IS_REPLACED = {"on", "start"}
"""What AgentServer.run() calls on the pool it has built, before `worker_started`."""
READ_ALL_SOURCE = inspect.getsource(agents_worker)


def test_the_livekit_versions_are_those_whose_source_was_read() -> None:
    """For another version, read the targets of ffi.py, event_routing.py and jobs.py again, then change this line."""
    assert (version("livekit-agents"), version("livekit")) == ("1.8.9", "1.1.21")


def test_the_sdk_requests_log_capture_through_a_replaceable_function() -> None:
    source = inspect.getsource(_ffi_client.FfiClient.__init__)
    assert "self._ffi_lib = get_ffi_lib()" in source
    assert re.search(r"self\._ffi_lib\.livekit_ffi_initialize\(\s*ffi_event_callback, True,", source)


def test_the_sdk_kills_its_process_after_a_panic_and_for_no_other_reason() -> None:
    source = inspect.getsource(_ffi_client)
    assert re.findall(r"os\.kill\(.*", source) == ["os.kill(os.getpid(), signal.SIGTERM)"]
    assert 'elif which == "panic":' in source


def test_the_sdk_puts_its_events_into_a_replaceable_queue_with_one_subscription_a_room() -> None:
    """route_events() replaces the queue of the SDK's client and takes the room's subscription out of it."""
    queue: _ffi_client.FfiQueue[object] = _ffi_client.FfiQueue()
    assert set(vars(queue)) == {"_lock", "_subscribers"}
    loop = asyncio.new_event_loop()
    own = queue.subscribe(loop)
    assert queue._subscribers == [(own, loop, None)]
    loop.close()
    assert inspect.getsource(_ffi_client.FfiClient.queue.fget).endswith("return self._queue\n")  # type: ignore[attr-defined]
    assert inspect.getsource(_ffi_client).count("FfiClient.instance.queue.put(event)") == 1
    connecting = inspect.getsource(rtc.Room.connect)
    assert "self._ffi_queue = FfiClient.instance.queue.subscribe(" in connecting
    assert "self._task.add_done_callback(lambda _: FfiClient.instance.queue.unsubscribe(ffi_queue))" in connecting
    listening = inspect.getsource(rtc.Room._listen_task)
    assert "event.room_event.room_handle == self._ffi_handle.handle" in listening
    assert set(re.findall(r"if event\.WhichOneof\(\"message\"\) == \"(\w+)\"", listening)) == {"rpc_method_invocation"}


@pytest.mark.parametrize(
    ("prelude", "captured"),
    [("", True), ("from manager_agent.livekit.ffi import disable_log_capture; disable_log_capture()", False)],
)
def test_disable_log_capture_keeps_the_native_library_from_capturing(prelude: str, captured: bool) -> None:
    """In a process of its own each time: the library is initialized once in a process."""
    script = f"""
import ctypes
from livekit.rtc import _ffi_client
told = []
class Recorder:
    def __init__(self, library): self.library = library
    def __getattr__(self, name): return getattr(self.library, name)
    class livekit_ffi_initialize: pass
load = _ffi_client.get_ffi_lib
def recording():
    library = load()
    native = library.livekit_ffi_initialize
    def initialize(callback, capture, sdk, version): told.append(bool(capture)); native(callback, False, sdk, version)
    recorder = Recorder(library)
    recorder.livekit_ffi_initialize = initialize
    return recorder
_ffi_client.get_ffi_lib = recording
{prelude}
_ffi_client.FfiClient.instance
assert told == [{captured}], told
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_disable_log_capture_raises_once_the_library_is_initialized() -> None:
    script = """
from livekit.rtc import _ffi_client
from manager_agent.livekit.ffi import disable_log_capture
_ffi_client.FfiClient.instance
try: disable_log_capture()
except RuntimeError: print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "refused\n", done.stderr


def test_our_job_pool_has_every_attribute_that_agent_server_uses() -> None:
    """Every attribute of `self._proc_pool` named in AgentServer's source is one of ours."""
    asked = set(re.findall(r"self\._proc_pool\.(\w+)", READ_ALL_SOURCE))
    offered = {name for name in vars(jobs.CoroutinePool) if not name.startswith("_")}
    assert asked - MET_BEFORE_IT_IS_REPLACED == offered


def test_our_jobs_have_every_attribute_that_agent_server_uses() -> None:
    asked = set(re.findall(r"\bproc\.(\w+)", READ_ALL_SOURCE))
    offered = set(vars(jobs.CoroutineJob(SimpleNamespace()))) | set(vars(jobs.CoroutineJob))  # type: ignore[arg-type]
    assert asked <= offered, f"a job lacks {asked - offered}"


async def test_agent_server_runs_jobs_on_this_loop_and_leaves_no_secret_in_environ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pool is replaced at `worker_started`, under our name, and what run() wrote into os.environ is gone."""
    monkeypatch.setenv("LIVEKIT_AGENT_NAME_OVERRIDE", "another name")
    monkeypatch.setenv("LIVEKIT_URL", "ws://as.it.was")
    watched: list[str] = []

    async def watch(info: object) -> None:
        watched.append(info.job.id)  # type: ignore[attr-defined]
        await never()

    async def sign(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        return await handler(request)

    server = AgentServer(
        job_executor_type=JobExecutorType.THREAD,
        num_idle_processes=0,
        host="127.0.0.1",
        port=0,
        load_fnc=lambda: 0.0,
        ws_url="ws://127.0.0.1:1",
        api_key="key",
        api_secret="a secret of this test",
    )
    server.rtc_session(_never_called, agent_name="ours")
    jobs.install(server, watch, "ours", sign)
    started = asyncio.Event()
    server.on("worker_started", started.set)
    running = asyncio.create_task(server.run(unregistered=True))
    async with waiting_for("worker_started", lambda: running):
        await started.wait()

    assert server._agent_name == "ours"
    connector: Any = server._http_session
    assert connector._http._middlewares == (sign,)
    assert (connector._http.connector._ssl is True) is jobs.HAS_CERTIFICATES, "aiohttp's context, not another one"
    assert "a secret of this test" not in os.environ.values()
    assert os.environ["LIVEKIT_URL"] == "ws://as.it.was"
    assert not jobs.is_connected(server)
    assert await server._invoke_load_fnc() == 0.0
    assert "await self._invoke_load_fnc()" in inspect.getsource(AgentServer._refresh_worker_load)

    info = SimpleNamespace(job=SimpleNamespace(id="job-1", room=SimpleNamespace(name="room")))
    await server._proc_pool.launch_job(info)  # type: ignore[arg-type]
    [job] = server._proc_pool.processes
    assert server.active_jobs == [info]
    assert job.status is JobStatus.RUNNING
    await let_others_run()
    assert watched == ["job-1"]
    await server.aclose()
    await running
    assert server._proc_pool.processes == []


async def _never_called(_: JobContext) -> None: ...


def test_agent_server_connects_through_a_session_that_can_be_replaced_before() -> None:
    running, connecting = inspect.getsource(AgentServer.run), inspect.getsource(AgentServer._connection_task)
    made, told = running.index("self._http_session = aiohttp"), running.index('self.emit("worker_started")')
    started = running.index("self._connection_task()")
    assert made < started < told
    assert "await" not in running[started:told], "the task that connects has not begun to run"
    assert connecting.count("self._http_session.") == 1
    assert "await self._http_session.ws_connect(" in connecting


class AwayTwice:
    """An HTTP session whose LiveKit is away for two tries."""

    def __init__(self) -> None:
        self.tries = 0

    async def ws_connect(self, url: str, **options: object) -> str:
        self.tries += 1
        if self.tries <= 2:
            raise aiohttp.ClientConnectionError("away")
        return url


@in_virtual_time
async def test_the_agent_tries_every_second_until_livekit_takes_its_connection() -> None:
    http: Any = AwayTwice()
    began = now()
    connected: Any = await jobs.PatientConnector(http).ws_connect("ws://livekit/agent")
    assert connected == "ws://livekit/agent"
    assert (http.tries, now() - began) == (3, 2 * jobs.CONNECT_PAUSE)


@in_virtual_time
async def test_the_agent_gives_up_a_connection_that_livekit_takes_and_does_not_answer() -> None:
    class SilentOnce(AwayTwice):
        async def ws_connect(self, url: str, **options: object) -> str:
            self.tries += 1
            if self.tries == 1:
                await asyncio.sleep(300)
            return url

    http: Any = SilentOnce()
    began = now()
    await jobs.PatientConnector(http).ws_connect("ws://livekit/agent")
    assert now() - began == jobs.CONNECT_TIMEOUT + jobs.CONNECT_PAUSE
