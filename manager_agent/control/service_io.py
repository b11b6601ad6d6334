"""The I/O that concerns the services of one session: their invites, what those say about the instances, and the message
that the session has ended."""

from __future__ import annotations

import stamina
import structlog

from manager_agent.control.agent_jobs import AgentJobs
from manager_agent.control.backends import Backends
from manager_agent.not_acting import NotActing
from manager_agent.outbound.fair_slots import TooManyWaiting
from manager_agent.outbound.invites import InviteError
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.plan import SendInvite
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from manager_agent.store.store import UnknownSession

log = structlog.get_logger()

SESSION_ENDED_TRIES, SESSION_ENDED_TIMEOUT = 3, 10.0


class ServiceIO:
    def __init__(self, session_id: str, backends: Backends) -> None:
        self._id, self._backends = session_id, backends
        self._store, self._clock = backends.store, backends.clock
        self._agent_jobs = AgentJobs(backends.store, backends.rooms, backends.clock)
        self._reported: set[tuple[int, int, bool]] = set()
        self._excused: set[tuple[int, int]] = set()
        """The attempts whose latest try failed by a fault of LiveKit or ours: that says nothing about the instance."""

    async def invite(self, session: Session, invite: SendInvite) -> ev.Event:
        """Raises NotActing."""
        service = session.services[invite.entry]
        about = {"service_id": service.service_id, "attempt": invite.attempt, "tries": invite.tries}
        key = (invite.entry, invite.attempt, invite.tries)
        inviter = self._backends.inviter
        agent: str | None = None
        self._excused.add((invite.entry, invite.attempt))
        if invite.attempt > 1:  # the first is recorded with the room
            await self._backends.recording.until_recorded(self._id, timeout=None)
        try:
            async with inviter.slot(session, service):
                if self._is_over():
                    return ev.InviteRefused(self._clock(), *key, ev.Refusal.UNREACHABLE)  # it waited too long
                dispatch_id = await self._send_invite(session, invite.entry)
            if dispatch_id is not None:
                agent = await self._agent_jobs.agent_of(session, invite, dispatch_id)
            if agent is not None:
                self._backends.registry.report_worker(service.current.ref)
        except InviteError as refused:
            log.warning("invite_refused", why=refused.why, detail=str(refused), final=refused.final, **about)
            if refused.why is ev.Refusal.NO_WORKER:
                self._backends.registry.report_no_worker(service.current.ref)
            if not refused.is_livekits:
                self._excused.discard((invite.entry, invite.attempt))
            if refused.why is not ev.Refusal.DECLINED:
                self.report_outcome(invite.entry, service.current, succeeded=False)
            if refused.final:
                self._backends.registry.retire(service.current.ref)
            outcome: ev.Event = ev.InviteRefused(
                self._clock(), *key, refused.why, refused.final, detail=refused.public_detail
            )
        except NotActing:
            raise
        except Exception:
            log.exception("invite_fault", **about)
            outcome = ev.InviteRefused(self._clock(), *key, ev.Refusal.UNREACHABLE)
        else:
            self._excused.discard((invite.entry, invite.attempt))
            outcome = ev.InviteAccepted(self._clock(), *key, identity=agent or None)
        latest = self._store.get(self._id)
        if latest.end is not None:
            self.tell_session_ended(latest, service, latest.end.reason)  # only now: it must not overtake the invite
        return outcome

    async def _send_invite(self, session: Session, entry: int) -> str | None:
        """The id of the dispatch, if it is a dispatched agent. Raises InviteError.

        If this process was late meanwhile, a missing answer says nothing about the service. An invite by HTTP is sent
        again then: it may arrive twice."""
        is_dispatch = session.services[entry].agent_name is not None
        while True:
            await self._backends.acting.until_acting()
            began = self._clock()
            try:
                return await self._backends.inviter.invite(session, entry)
            except InviteError as error:
                was_late = self._backends.standstill.was_late_since(began)
                if error.why is not ev.Refusal.UNREACHABLE or not was_late or is_dispatch or self._is_over():
                    raise

    def _is_over(self) -> bool:
        try:
            return self._store.get(self._id).over
        except UnknownSession:
            return True

    def report_outcome(self, entry: int, attempt: Attempt, *, succeeded: bool) -> None:
        """Report to the registry, once per attempt, whether the instance succeeded."""
        outcome = (entry, attempt.number, succeeded)
        is_excused = not succeeded and (entry, attempt.number) in self._excused
        if is_excused or outcome in self._reported:
            return
        self._reported.add(outcome)
        report = self._backends.registry.report_success if succeeded else self._backends.registry.report_failure
        report(attempt.ref)

    def tell_session_ended(self, session: Session, service: RequiredService, reason: str) -> None:
        self._backends.io.spawn(
            self._send_session_ended(session, service, reason), name=f"{self._id} session ended {service.service_id}"
        )

    async def _send_session_ended(self, session: Session, service: RequiredService, reason: str) -> None:
        tries = stamina.retry_context(on=InviteError, attempts=SESSION_ENDED_TRIES, timeout=SESSION_ENDED_TIMEOUT)
        try:
            async for attempt in tries.with_name("session ended", (), {}):
                with attempt:
                    await self._backends.inviter.send_session_ended(session, service, reason)
        except InviteError as refused:
            about = {"service_id": service.service_id, "attempt": service.attempt}
            log.warning("session_ended_refused", detail=str(refused), **about)
        except TooManyWaiting as dropped:
            log.debug("session_ended_dropped", detail=str(dropped), service_id=service.service_id)
