"""Serves the application until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

import structlog
from aiohttp import web

from http_api.app import create_app, finish_requests
from http_api.bootstrap import Components, compose
from http_api.connections import ClientConnection, IdleConnections, close_server
from http_api.listening import listen
from http_api.observability.sinks import LogSinks
from http_api.settings.connections import outgoing_connections
from http_api.settings.secret_values import SECRET_MIN, short_secrets
from http_api.settings.settings import Settings
from manager_agent.acting_gate import ActingGate
from manager_agent.interfaces import warn_without_interface
from manager_agent.livekit.ffi import PANIC_EXIT_CODE
from manager_agent.proxy_rule import proxy_rule

log = structlog.get_logger()

KILLED = 128
"""Added to the number of a signal that ends the process, as shells do."""
SHUTDOWN_TIMEOUT = 0.5
"""Seconds for responses to be received, once all requests are answered; twice so long for all connections to close."""
STOP_TIMEOUT = 20.0
"""Seconds from the signal to the end of the process. It is ended then, whatever it waits for."""
THREADS_MAX = 32
"""Threads for the disk and for lookups of LiveKit's host. Callers' host names are resolved in threads of their own
(manager_agent/outbound/lookups.py), so a slow name server of theirs delays neither."""


class SuccessorStopped(Exception):
    """The process that had superseded this one has stopped, so none acts. Started again, this one is the newest."""


async def serve(settings: Settings, sinks: LogSinks | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Sessions go on without this process, unless STOP_ENDS_SESSIONS is set.

    `sinks`: the sinks of the log. Raises BadSettings and CannotListen before anything is started, and SuccessorStopped.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="io"))
    if not settings.invites_have_own_key and not settings.dev:
        log.warning("invites_signed_with_livekit_secret", hint="set INVITE_API_KEY and INVITE_API_SECRET")
    for name, meant in settings.misspelt().items():
        log.warning("setting_misspelt", variable=name, hint=f"it has no effect; is {meant} meant?")
    for name in short_secrets(settings):
        log.warning("secret_is_short", variable=name, hint=f"use at least {SECRET_MIN} characters")
    if settings.redis_url is not None and settings.state_dir is not None:
        log.warning("state_dir_unused", why="REDIS_URL is set: all of it is in Redis")
    warn_without_interface()
    rule = proxy_rule()
    for connection in () if rule.is_empty else outgoing_connections(settings, rule):
        log.info("proxy_rule", what=connection.what, how=connection.how)
    components = compose(settings, sinks)
    gc.freeze()  # loaded modules stay: scanning them in each full collection would take 200 ms
    gc.enable()  # it was off while they were loaded, see __main__.py
    async with serving(components):
        with stop_signal() as stop:  # before `listening` is logged: a reader of the log may send a signal then
            gc.freeze()  # what was loaded since
            log.info(
                "listening", host=settings.server_host, port=settings.server_port, livekit=settings.livekit_server_url
            )
            if settings.is_open:
                log.info("callers_need_no_key", why="dev mode, and the API is reachable from this machine only")
            is_told = await _is_told_to_stop(stop, components.acting)
        log.info("stopping")
        _end_in_time()
    if not is_told:
        raise SuccessorStopped


async def _is_told_to_stop(stop: asyncio.Event, acting: ActingGate) -> bool:
    """Wait for the end. Returns whether the process is told to stop; else its successor has stopped."""
    reasons = [asyncio.create_task(reason) for reason in (stop.wait(), acting.until_successor_stopped())]
    await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
    for reason in reasons:
        reason.cancel()
    if not stop.is_set():
        log.warning("successor_stopped", hint="this process ends; started again, it is the newest one and acts")
    return stop.is_set()


@asynccontextmanager
async def serving(components: Components) -> AsyncIterator[web.Application]:
    """Inside, the application is listening; on exit it answers what it was asked and lets its sessions go. Raises
    BadSettings, CannotListen."""
    app, settings = create_app(components), components.settings
    listener = listen(settings.server_host, settings.server_port)
    # handler_cancellation: stop handling the request of a client that disconnects while waiting for a session.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT)
    server: asyncio.Server | None = None
    try:
        await runner.setup()
        server = await asyncio.get_running_loop().create_server(_connections(runner), sock=listener)
        yield app
        await finish_requests(app)
    finally:
        listener.close() if server is None else await close_server(server)
        await runner.cleanup()


def _end_in_time() -> None:
    """End the process STOP_TIMEOUT seconds from now. Some of its threads can't be interrupted, such as those that look
    host names up."""

    def end() -> None:
        log.critical("stop_timed_out", after=STOP_TIMEOUT)
        os._exit(PANIC_EXIT_CODE)

    ending = threading.Timer(STOP_TIMEOUT, end)
    ending.daemon = True
    ending.start()


@contextmanager
def stop_signal() -> Iterator[asyncio.Event]:
    """An event set by the first SIGINT or SIGTERM. After the block, another one ends the process at once, as SIGKILL
    does: sessions stay. Its default action would do so too, but Linux ignores that for the first process of a
    container."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, lambda number, _: os._exit(KILLED + number))


def _connections(runner: web.AppRunner) -> Callable[[], ClientConnection]:
    """The protocol factory of aiohttp's own sites, with `ClientConnection` as its RequestHandler."""
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None, "setup() first"
    idle = IdleConnections(loop)
    return lambda: ClientConnection(server, idle, loop=loop)
