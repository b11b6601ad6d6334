"""The only file that calls LiveKit's server API for rooms: their making and end, dispatches, listings, metadata."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from livekit import api
from livekit.protocol.agent import JobState

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import SteadyClock
from manager_agent.livekit.calls import (
    LiveKitBusy,
    LiveKitCalls,
    LiveKitHungUp,
    LiveKitUnavailable,
    RoomMissing,
    RoomReplaced,
)
from manager_agent.livekit.join_tokens import JoinTokens
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.participants import participant_of
from manager_agent.livekit.room_acts import RoomActs
from manager_agent.livekit.room_record import RECORD, RecordedDispatches, dispatch_metadata, name_session
from manager_agent.livekit.tokens import EVERY_GRANT, Grant, Tokens
from manager_agent.messages import RoomStatus
from manager_agent.records.memory import MemoryRecords
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.session import Limits, Session
from manager_agent.store.room_names import RoomNames

log = structlog.get_logger()

CREATE_PAUSE = 0.2
"""Seconds until a LiveKit that could not serve at the moment is asked for a room again."""
LOOK_PAUSES = 0.1, 1.0
"""Seconds until a room that we made is looked for again when LiveKit's list lacks it: lists may lag behind."""
TAKEN_UP_TIMEOUT = 1
"""Seconds for which LiveKit keeps a room that it was only asked to create so that it can be deleted, if it is empty."""
OUTLIVES = 120
"""Seconds for which a room without humans outlives its manager, so that another process can continue its session."""


class RoomTaken(Exception):
    """LiveKit has a room of that name that is not ours."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The participants of a room. Those `joining` are neither present nor gone."""

    participants: tuple[ParticipantInfo, ...]
    joining: tuple[str, ...]


class Rooms(LiveKitCalls):
    def __init__(
        self,
        *,
        url: str,
        services_url: str,
        api_key: str,
        api_secret: str,
        agent_name: str,
        deployment: str,
        user_grants: Collection[Grant] = EVERY_GRANT,
        room_names: RoomNames | None = None,
        acting: ActingGate | None = None,
        clock: SteadyClock | None = None,
        livekit_clock: LiveKitClock | None = None,
        acts: RoomActs | None = None,
    ) -> None:
        """`services_url`: the LiveKit URL that services are told to connect to. `user_grants`: the maximum that a human
        in a room may be granted. `room_names`: told every token that is given out. `acting`: None where
        no other process shares the deployment. `clock`: the one of the sessions.
        `livekit_clock` learns LiveKit's time from its answers. `acts` refuses what another replica has to do."""
        clock, self.acts = clock or SteadyClock(), acts or RoomActs()
        super().__init__(url, api_key, api_secret, acting, livekit_clock or LiveKitClock(clock))
        self.services_url, self.clock_origin = services_url, clock.origin
        tokens = Tokens(api_key, api_secret, user_grants=user_grants, livekit_clock=self.livekit_clock)
        self.tokens = JoinTokens(tokens, room_names or RoomNames(MemoryRecords(clock), self.livekit_clock), self.acts)
        self._agent_name, self._deployment = agent_name, deployment
        self._manager_name = agent_name if acting is None else acting.worker_name(agent_name)

    async def create(self, session: Session, *, patience: float = 0.0) -> str:
        """Create the session's room, with this session as its record, and dispatch its manager in the same call.
        Returns the room's sid.

        `patience`: the seconds for which a LiveKit that can't serve at the moment is asked again.
        Idempotent: another call for the same session returns the same room and dispatches nothing. Raises RoomTaken,
        LiveKitUnavailable.

        It looks first, unless no room can have the name yet: LiveKit writes our metadata into another's room if no
        node holds that room at the moment.
        """
        if self._acting is not None and session.room_name == self._acting.room_name:
            raise RoomTaken(session.room_name)
        give_up_at = asyncio.get_running_loop().time() + patience
        may_be_taken = not session.has_generated_name or session.room.was_made
        if may_be_taken:
            await self._look_for_another(session)
        request = self._room_request(session)
        while True:
            try:
                async with self._calling(), self._act("create_room", session.session_id, session.room_name):
                    room = await self._livekit.room.create_room(request)
                break
            except LiveKitHungUp:
                if may_be_taken:
                    raise
                may_be_taken = True
                await self._look_for_another(session)
            except LiveKitBusy:
                if asyncio.get_running_loop().time() + CREATE_PAUSE > give_up_at:
                    raise
                await asyncio.sleep(CREATE_PAUSE)
        if ListedRoom.of(room, self._deployment).session_id != session.session_id:
            raise RoomTaken(session.room_name)
        return room.sid

    def _room_request(self, session: Session) -> api.CreateRoomRequest:
        """Asks for the session's room, with its record, and for its manager."""
        keep = room_timeout(session.limits)
        manager = dispatch_metadata(session, session.manager.attempt)
        return api.CreateRoomRequest(
            name=session.room_name,
            metadata=RoomStatus.of(session, self._deployment, self.clock_origin).model_dump_json(),
            empty_timeout=keep,
            departure_timeout=keep,
            agents=[api.RoomAgentDispatch(agent_name=self._manager_name, metadata=manager)],
        )

    @asynccontextmanager
    async def _act(self, act: str, session_id: str, room_name: str) -> AsyncIterator[None]:
        """Wait until this process may act, and look then whether it still acts for the session: not before the wait.
        The act is made inside. Raises NotActing."""
        if self._acting is not None:
            await self._acting.require()
        async with self.acts.under_way(session_id):
            self.acts.begin(act, session_id, room_name)
            yield

    async def dispatch_manager(self, session: Session, attempt: int) -> None:
        """Dispatch the manager again. If the room's node is dead, another one gets the room first, under the same sid:
        LiveKit moves a room when it is asked to create it. Raises RoomMissing, RoomTaken, LiveKitUnavailable."""
        metadata = dispatch_metadata(session, attempt)
        try:
            await self.dispatch_agent(session, self._manager_name, metadata)
        except LiveKitBusy:
            await self.create(session)
            await self.dispatch_agent(session, self._manager_name, metadata)

    async def record_specification(self, session: Session) -> None:
        """Record the session's specification, which has changed, in place of an earlier record. Raises
        SpecificationTooLong, RoomMissing, LiveKitUnavailable."""
        name = self._agent_name + RECORD
        metadata = dispatch_metadata(session, session.manager.attempt)
        newest = await self.dispatch_agent(session, name, metadata)
        for dispatch in await self._dispatches(session.room_name):
            if dispatch.agent_name == name and dispatch.id != newest:
                await self.delete_dispatch(session, dispatch.id)

    async def recorded_dispatches(self, room_name: str) -> RecordedDispatches:
        """What the room's dispatches say about its session. Raises RoomMissing, LiveKitUnavailable."""
        return RecordedDispatches.of(await self._dispatches(room_name), self._agent_name)

    async def _dispatches(self, room_name: str) -> Sequence[api.AgentDispatch]:
        async with self._calling():
            return await self._livekit.agent_dispatch.list_dispatch(room_name)

    async def dispatch_agent(self, session: Session, agent_name: str, metadata: str) -> str:
        """Request an agent dispatch and return its id. LiveKit does not guarantee that an agent joins. Raises
        RoomMissing, LiveKitUnavailable."""
        await self._look_at_room(session)
        async with self._calling(), self._act("create_dispatch", session.session_id, session.room_name):
            request = api.CreateAgentDispatchRequest(room=session.room_name, agent_name=agent_name, metadata=metadata)
            return (await self._livekit.agent_dispatch.create_dispatch(request)).id

    async def job_identity(self, room_name: str, dispatch_id: str) -> str | None:
        """The identity with which the agent of this dispatch joins; empty if LiveKit does not tell it, None if no
        worker took the job. LiveKit may show it seconds later, and shows a rejected one as ended. Raises RoomMissing,
        LiveKitUnavailable."""
        async with self._calling():
            dispatch = await self._livekit.agent_dispatch.get_dispatch(dispatch_id, room_name)
        jobs = () if dispatch is None else dispatch.state.jobs
        taken = [job.state.participant_identity for job in jobs if not _is_rejected(job.state)]
        return taken[-1] if taken else None

    async def delete_dispatch(self, session: Session, dispatch_id: str) -> None:
        """Delete a dispatch. Raises RoomMissing, LiveKitUnavailable."""
        async with self._calling(), self._act("delete_dispatch", session.session_id, session.room_name):
            await self._livekit.agent_dispatch.delete_dispatch(dispatch_id, session.room_name)

    async def list_participants(self, room_name: str) -> Listing:
        """List the participants of a room. Raises RoomMissing, LiveKitUnavailable."""
        room = self._livekit.room
        async with self._calling():
            answer = await room.list_participants(api.ListParticipantsRequest(room=room_name))
            if not answer.participants and not (await room.list_rooms(api.ListRoomsRequest(names=[room_name]))).rooms:
                raise RoomMissing(room_name)  # the listing of a missing room is empty too
        active = api.ParticipantInfo.ACTIVE
        return Listing(
            participants=tuple(participant_of(info) for info in answer.participants if info.state == active),
            joining=tuple(info.identity for info in answer.participants if info.state < active),
        )

    async def is_answering(self, room_name: str) -> bool:
        """Whether the node that has the room answers. LiveKit's lists come from its store, this comes from the node."""
        try:
            async with self._calling():
                await self._livekit.agent_dispatch.list_dispatch(room_name)
        except (LiveKitUnavailable, RoomMissing):
            return False
        return True

    async def has_room(self, session: Session) -> bool:
        """Whether a node says that it has the session's room, whatever LiveKit's lists say. LiveKit needs seconds to
        find out that no node has it. Raises LiveKitUnavailable."""
        try:
            dispatches = await self._dispatches(session.room_name)
        except (LiveKitBusy, RoomMissing):
            return False
        return name_session(dispatches, session.session_id)

    async def has_participant(self, room_name: str, identity: str) -> bool:
        """Whether a node says that it has the participant, whatever LiveKit's lists say. The node is asked to change
        nothing of its subscriptions. LiveKit needs seconds to find out that no node has it. Raises
        LiveKitUnavailable."""
        try:
            async with self._calling():
                nothing = api.UpdateSubscriptionsRequest(room=room_name, identity=identity)
                await self._livekit.room.update_subscriptions(nothing)
        except (LiveKitBusy, RoomMissing):
            return False
        return True

    async def remove(self, room_name: str, identity: str, sid: str, *, session_id: str = "") -> None:
        """Remove the participant `sid`, which has this identity, from the room of a session, or of none. No error if it
        is already gone, or if another participant has the identity by now. Its token stays valid. Raises
        LiveKitUnavailable."""
        participant = api.RoomParticipantIdentity(room=room_name, identity=identity)
        try:
            async with self._calling():
                if (await self._livekit.room.get_participant(participant)).sid == sid:
                    async with self._act("remove_participant", session_id, room_name):
                        await self._livekit.room.remove_participant(participant)
        except RoomMissing:
            pass

    async def remove_old_token_holders(self, room: ListedRoom) -> list[str]:
        """Remove everyone who entered this room, which is of no session here, with a token of an earlier session whose
        room had its name. Returns their identities. Raises RoomMissing, LiveKitUnavailable."""
        if not self.tokens.is_reserved(room.name):
            return []
        here = (await self.list_participants(room.name)).participants
        found = [one for one in here if self.tokens.has_old_token(room, one)]
        for one in found:
            await self.remove(room.name, one.identity, one.sid)
        return [one.identity for one in found]

    async def list_rooms(self) -> list[ListedRoom]:
        """List all rooms of the LiveKit server. Raises LiveKitUnavailable."""
        async with self._calling():
            answer = await self._livekit.room.list_rooms(api.ListRoomsRequest())
        return [ListedRoom.of(room, self._deployment) for room in answer.rooms]

    async def show_status(self, session: Session) -> None:
        """Write the session's status into its room's metadata. Raises RoomMissing, LiveKitUnavailable."""
        if session.has_generated_name and session.room.is_undisputed and not session.over:
            try:
                await self._write_status(session)
                return
            except LiveKitHungUp:
                pass  # what looks is sent again
        await self._look_at_room(session)
        await self._write_status(session)

    async def _write_status(self, session: Session) -> None:
        """Raises RoomMissing, LiveKitUnavailable."""
        metadata = RoomStatus.of(session, self._deployment, self.clock_origin).model_dump_json()
        async with self._calling(), self._act("update_room_metadata", session.session_id, session.room_name):
            request = api.UpdateRoomMetadataRequest(room=session.room_name, metadata=metadata)
            written = await self._livekit.room.update_room_metadata(request)
            if session.room.sid not in ("", written.sid):  # it was replaced: the other one must not look like ours
                blank = api.UpdateRoomMetadataRequest(room=session.room_name, metadata="")
                await self._livekit.room.update_room_metadata(blank)
                raise RoomReplaced(f"another room has the name {session.room_name!r}")

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None:
        """Delete the room with this sid (if empty: the one whose metadata names this session) and disconnect everyone.
        Any other room of that name stays. No error if it is already gone. Raises LiveKitUnavailable."""
        found = await self._find(room_name, LOOK_PAUSES if sid else ())
        if found is None or not found.is_same(sid, session_id):
            return
        with suppress(RoomMissing):
            try:
                await self._delete(room_name, session_id)
            except LiveKitBusy:
                if await self._give_a_node(found, session_id):
                    await self._delete(room_name, session_id)

    async def _delete(self, room_name: str, session_id: str) -> None:
        async with self._calling(), self._act("delete_room", session_id, room_name):
            await self._livekit.room.delete_room(api.DeleteRoomRequest(room=room_name))

    async def _give_a_node(self, room: ListedRoom, session_id: str) -> bool:
        """Let a live node have this room, and return whether it does. LiveKit does not delete a room whose node was
        killed, or that has none: one that was at two nodes is stored again, without a node, when someone leaves it at
        the second one. It takes such a room up when it is asked to create it.

        If the room is gone after all, that makes a new one, which ends soon by itself: we can't tell it from another's.
        """
        request = api.CreateRoomRequest(name=room.name, empty_timeout=TAKEN_UP_TIMEOUT)
        async with self._calling(), self._act("create_room", session_id, room.name):
            taken_up = await self._livekit.room.create_room(request)
        return taken_up.sid == room.sid

    async def delete_what_came_back(self, session: Session, manager: str) -> None:
        """Delete the room that LiveKit made in place of the session's deleted one, because this manager was joining; it
        may have left. One that others are in stays: LiveKit closes it once it is empty. Raises LiveKitUnavailable."""
        found = await self._find(session.room_name)
        if found is None or not found.was_made_by_join(session.session_id) or found.sid == session.room.sid:
            return
        with suppress(RoomMissing):
            listing = await self.list_participants(session.room_name)
            if {*listing.joining, *(one.identity for one in listing.participants)} <= {manager}:
                log.info("room_came_back", sid=found.sid)
                await self.delete(session.room_name, sid=found.sid, session_id=session.session_id)

    async def _find(self, room_name: str, pauses: Sequence[float] = ()) -> ListedRoom | None:
        """The room that has this name now. It is looked for again after each of the pauses. Raises
        LiveKitUnavailable."""
        for pause in (None, *pauses):
            if pause is not None:
                await asyncio.sleep(pause)
            async with self._calling():
                rooms = (await self._livekit.room.list_rooms(api.ListRoomsRequest(names=[room_name]))).rooms
            if rooms:
                return ListedRoom.of(rooms[0], self._deployment)
        return None

    async def _look_for_another(self, session: Session) -> None:
        """Check that no other room has the name. Raises RoomTaken, LiveKitUnavailable."""
        found = await self._find(session.room_name)
        if found is not None and not found.is_room_of(session):
            raise RoomTaken(session.room_name)

    async def _look_at_room(self, session: Session) -> None:
        """Check that the session's room has its name now. Raises RoomReplaced if another's room has it, and
        LiveKitUnavailable if no room is listed and no node has it: LiveKit's lists may lag behind, and the name may be
        taken next."""
        found = await self._find(session.room_name, () if session.over else LOOK_PAUSES)
        if found is None:
            if not await self.has_room(session):
                raise LiveKitUnavailable(f"LiveKit does not list the room {session.room_name!r}")
        elif not found.is_room_of(session):
            raise RoomReplaced(f"another room has the name {session.room_name!r}")


def _is_rejected(job: JobState) -> bool:
    """Whether it ended without an agent."""
    return job.ended_at > 0 and not job.participant_identity


def room_timeout(limits: Limits) -> int:
    """Seconds for which LiveKit keeps a room without humans (agents don't keep a room open).

    We delete rooms ourselves; this exceeds the longest wait for a human, so that the room outlives its manager.
    """
    waits = (limits.ready_timeout, limits.user_join_timeout, limits.user_rejoin_timeout, limits.replacement_timeout)
    return int(sum(waits)) + OUTLIVES
