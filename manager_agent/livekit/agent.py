"""The manager agent: runs the jobs of the managers that this process dispatches.

The job of each room is a coroutine that watches the room (room_watcher.py). The session decides which job is in charge
of its room: a job is begun only if the session has recorded it as that one. The process that dispatched a manager takes
its job at once. LiveKit offers it later, to the AgentServer of livekit-agents, which runs it (jobs.py) if it was not
taken. Decision 0040.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.livekit.join_slots import JoinSlots, JoinsUnderWay, NewSessions
from manager_agent.livekit.livekit_clock import LiveKitClock, signed_in_livekits_time
from manager_agent.livekit.participant_budget import ParticipantBudget
from manager_agent.livekit.room_connection import drain
from manager_agent.livekit.room_record import read_dispatch_metadata
from manager_agent.livekit.room_watcher import Watcher
from manager_agent.livekit.server_api import Rooms
from manager_agent.livekit.tokens import MANAGER_NAME
from manager_agent.not_acting import NotActing
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.session import Session
from manager_agent.store.recording import Recording
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

if TYPE_CHECKING:
    from manager_agent.livekit.agents_sdk import AgentServer, JobRequest, RunningJobInfo

log = structlog.get_logger()

RESTART_PAUSE = 1.0
REMAKE_TIMEOUT = 3.0
"""Seconds that an offered job waits for LiveKit's answer about a room that is made again."""
CLOSE_TIMEOUT = 2.0
"""Seconds. The process must end even if LiveKit hangs."""


class ManagerAgent:
    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        api_secret: str,
        agent_name: str,
        store: Store,
        identities: Identities,
        recording: Recording,
        rooms: Rooms,
        acting: ActingGate,
        clock: Clock,
        livekit_clock: LiveKitClock,
        acting_store: Callable[[str], Store] | None = None,
    ) -> None:
        """`acting_store`: see Orchestrator."""
        self._url, self._key, self._secret, self._agent_name = url, api_key, api_secret, agent_name
        self._store, self._identities, self._clock = store, identities, clock
        self._acting_store = acting_store or (lambda _: store)
        self._recording, self._rooms, self._acting = recording, rooms, acting
        self._signing = signed_in_livekits_time(livekit_clock, api_secret)
        self.new_sessions = NewSessions()
        """Those of this process; its control loops say which."""
        self.joins = JoinsUnderWay()
        self._slots = JoinSlots(self.new_sessions)
        self.rooms_held = 0
        """Rooms being watched or joined."""
        self._budgets: set[ParticipantBudget] = set()
        """Those of the rooms being watched or joined."""
        self._messages: Counter[tuple[str, str]] = Counter()
        """The messages in rooms that are no longer watched."""
        self._server: AgentServer | None = None
        self._running: asyncio.Task[None] | None = None
        self._own_jobs = Tasks()
        """The jobs that were taken at once."""

    @property
    def registered(self) -> bool:
        """Whether LiveKit can send us jobs now."""
        if self._server is None:
            return False
        from manager_agent.livekit import jobs  # loaded by then, see _run

        return jobs.is_connected(self._server)

    @property
    def messages(self) -> Counter[tuple[str, str]]:
        """How many messages participants sent to the manager, by KINDS and OUTCOMES of participant_budget.py."""
        return sum((budget.counts for budget in self._budgets), self._messages)

    async def start(self) -> None:
        """Start taking jobs in the background, once this process may act. LiveKit does not have to be up yet."""
        self._running = asyncio.create_task(self._run(), name="manager agent")

    async def aclose(self) -> None:
        """Leave every room within CLOSE_TIMEOUT."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + CLOSE_TIMEOUT
        self._own_jobs.cancel()
        if (running := self._running) is not None:
            self._running = None
            running.cancel()
            if not (await asyncio.wait([running], timeout=CLOSE_TIMEOUT))[0]:
                running.cancel()
        await self._own_jobs.wait(ends - loop.time())
        await self._disconnect()
        await drain(ends - loop.time())

    async def _run(self) -> None:
        # In a thread: the import takes a while, in which the process serves already.
        make_server = await asyncio.to_thread(_imported_make_server)
        await self._acting.until_acting()
        while True:
            self._server = make_server(
                url=self._url,
                api_key=self._key,
                api_secret=self._secret,
                agent_name=self._agent_name,
                decide=self._decide,
                watch=self._watch,
                signing=self._signing,
            )
            try:
                await self._server.run()
                log.error("agent_server_stopped")
            except Exception:
                log.exception("agent_server_failed")
            finally:
                with contextlib.suppress(Exception):
                    await self._server.aclose()
            with contextlib.suppress(Exception):  # one that failed early may lack what is closed here
                await self._disconnect()
            await asyncio.sleep(RESTART_PAUSE)

    async def _disconnect(self) -> None:
        if self._server is not None:
            from manager_agent.livekit import jobs  # loaded by then, see _run

            await jobs.disconnect(self._server)

    def _is_running(self) -> bool:
        return self._running is not None

    async def take_job(self, session: Session) -> None:
        """Take the job of the manager that was dispatched last, without waiting until LiveKit offers it: its dispatch
        is in the room. Leaves it to LiveKit if this process may not act, or does not run."""
        identity, attempt = session.manager.identity, session.manager.attempt
        if not self._is_running() or identity is None or not await self._acting.held():
            return
        if not await self._take_charge(session.session_id, identity, session.room.sid):
            return
        if not self._is_running():  # closed meanwhile
            await self._report_failure(session.session_id, identity)
            return
        token = self._rooms.tokens.for_manager(session, identity, self._agent_name).jwt
        fields = self._log_fields(session.session_id, attempt, session.room_name)
        job = self._run_job(session.session_id, identity, self._url, token, fields)
        self._own_jobs.spawn(job, name=f"job {identity}", for_all=True)

    async def _decide(self, request: JobRequest) -> None:
        """Accept the job if the session puts this manager in charge of its room; else reject it."""
        metadata, room = read_dispatch_metadata(request.job.metadata), request.room
        if metadata is None:
            log.warning("job_not_ours", room=room.name)
            await request.reject()
            return
        session_id, attempt = metadata.session_id, metadata.attempt
        identity = self._identities.manager(session_id, attempt)
        with structlog.contextvars.bound_contextvars(**self._log_fields(session_id, attempt, room.name)):
            if not await self._acting.held() or not await self._take_charge(session_id, identity, room.sid):
                if self._is_in_charge(session_id, identity):
                    log.debug("job_taken_already", identity=identity)
                else:
                    log.info("job_rejected", identity=identity)
                await request.reject()
                return
            try:
                await request.accept(identity=identity, name=MANAGER_NAME)
            except Exception as error:
                log.warning("job_not_assigned", identity=identity, error=repr(error))
                await self._report_failure(session_id, identity)

    def _log_fields(self, session_id: str, attempt: int, room_name: str) -> dict[str, Any]:
        """The fields of log lines about a job. Its session may be unknown here."""
        fields: dict[str, Any] = {"session_id": session_id, "room": room_name, "dispatch": attempt}
        with contextlib.suppress(UnknownSession):
            fields |= self._store.get(session_id).log_fields
        return fields

    async def _take_charge(self, session_id: str, identity: str, room_sid: str) -> bool:
        """Record that this manager is in charge. False if another is, or if the job is for another's room that has the
        session's room name by now. LiveKit may offer it before it has answered that it made the room again."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REMAKE_TIMEOUT):
                    await self._store.wait_for(session_id, lambda session: session.room.remaking_since is None)
            if self._store.get(session_id).room.sid not in ("", room_sid):
                return False
            at = self._clock()  # only now: the join has to follow in time
            session = await self._acting_store(session_id).update(session_id, ev.JobAccepted(at, identity))
        except (UnknownSession, NotActing):
            return False
        manager = session.manager
        return not session.over and manager.identity == identity and manager.accepted_at == at

    def _is_in_charge(self, session_id: str, identity: str) -> bool:
        with contextlib.suppress(UnknownSession):
            manager = self._store.get(session_id).manager
            return manager.in_charge and manager.identity == identity
        return False

    async def _watch(self, info: RunningJobInfo) -> None:
        """Run a job that LiveKit has assigned, until the room is closed or lost."""
        metadata = read_dispatch_metadata(info.job.metadata)
        assert metadata is not None, "only jobs with our metadata are accepted"
        fields = self._log_fields(metadata.session_id, metadata.attempt, info.job.room.name)
        token = self._rooms.tokens.marked(info.token, metadata.session_id)
        await self._run_job(metadata.session_id, info.accept_arguments.identity, info.url, token, fields)

    async def _run_job(self, session_id: str, identity: str, url: str, token: str, log_fields: dict[str, Any]) -> None:
        """Be the manager in the room, until the room is closed or lost."""
        self.rooms_held += 1
        self._budgets.add(budget := ParticipantBudget())
        structlog.contextvars.bind_contextvars(**log_fields)  # for good: this task runs only this job
        try:
            watcher = Watcher(
                session_id=session_id,
                identity=identity,
                store=self._store,
                recording=self._recording,
                clock=self._clock,
                budget=budget,
                rooms=self._rooms,
                slots=self._slots,
                joins=self.joins,
            )
            await watcher.watch(url, token)
        except UnknownSession:
            log.info("manager_outlived_session", identity=identity)
        except NotActing:
            log.info("manager_superseded", identity=identity)
        except Exception as error:
            log.warning("manager_failed", identity=identity, error=repr(error))
        finally:
            self.rooms_held -= 1
            self._budgets.remove(budget)
            self._messages += budget.counts
            await self._report_failure(session_id, identity)

    async def _report_failure(self, session_id: str, identity: str) -> None:
        """Record that this manager is not in the room. A session that is over ignores it."""
        with contextlib.suppress(UnknownSession, NotActing):
            await self._store.update(session_id, ev.ManagerFailed(self._clock(), identity))


def _imported_make_server() -> Callable[..., AgentServer]:
    from manager_agent.livekit.agent_server import make_server

    return make_server
