"""The dispatches in which a room's record is kept.

The specification of a session (session/specification.py) is in the metadata of each dispatch of its manager. When it
changes later, it is put into a dispatch for an agent that does not exist: LiveKit keeps that for as long as the room
lives, and shows it to the holder of the API secret only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from livekit.protocol.agent_dispatch import AgentDispatch
from pydantic import BaseModel, ConfigDict, ValidationError

from manager_agent.messages import DispatchMetadata
from manager_agent.session.session import Session
from manager_agent.session.specification import Specification

RECORD = "/record"
"""Appended to the manager's agent name for the agent that does not exist."""


class _SentInvite(BaseModel):
    """What matters here of the dispatch metadata of an invited agent."""

    model_config = ConfigDict(defer_build=True)

    id: str


@dataclass(frozen=True, slots=True)
class RecordedDispatches:
    """What the dispatches of a room say about its session."""

    specifications: tuple[str, ...]
    """Newest first."""
    manager_attempts: int
    """How often its manager was dispatched."""
    invite_ids: frozenset[str]
    """The invites of agents that LiveKit dispatched."""

    @classmethod
    def of(cls, dispatches: Iterable[AgentDispatch], agent_name: str) -> RecordedDispatches:
        """`agent_name`: of the deployment's managers. Each process has a name of its own below it."""

        def is_ours(one: AgentDispatch) -> bool:
            return one.agent_name == agent_name or one.agent_name.startswith(agent_name + "/")

        newest_first = sorted(dispatches, key=lambda one: one.state.created_at, reverse=True)
        ours = filter(is_ours, newest_first)
        found = [metadata for one in ours if (metadata := read_dispatch_metadata(one.metadata)) is not None]
        others = (one for one in newest_first if not is_ours(one))
        return cls(
            specifications=tuple(metadata.specification for metadata in found if metadata.specification),
            manager_attempts=max((metadata.attempt for metadata in found), default=0),
            invite_ids=frozenset(invite_id for one in others if (invite_id := _invite_id(one.metadata))),
        )


def dispatch_metadata(session: Session, attempt: int) -> str:
    """The metadata of the manager's `attempt`-th dispatch. Raises SpecificationTooLong."""
    text = Specification.of(session).text()
    return DispatchMetadata(session_id=session.session_id, attempt=attempt, specification=text).model_dump_json()


def read_dispatch_metadata(metadata: str) -> DispatchMetadata | None:
    """None if it is not ours."""
    try:
        return DispatchMetadata.model_validate_json(metadata)
    except ValidationError:
        return None


def name_session(dispatches: Iterable[AgentDispatch], session_id: str) -> bool:
    """Whether these are the dispatches of a room that was made for this session."""
    found = (read_dispatch_metadata(one.metadata) for one in dispatches)
    return any(metadata is not None and metadata.session_id == session_id for metadata in found)


def _invite_id(metadata: str) -> str:
    try:
        return _SentInvite.model_validate_json(metadata).id
    except ValidationError:
        return ""
