"""The managers in the rooms of a test, and how they get there."""

from __future__ import annotations

import pytest

from http_api.app_keys import ACTING
from http_api.settings.settings import SETTINGS
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.session import Session
from tests.live.conftest import Stack


def is_watched(session: Session) -> bool:
    return session.manager.presence.here


async def managers(stack: Stack, room_name: str) -> list[str]:
    """The identities of the managers in the room, according to LiveKit."""
    return [p.identity for p in await stack.participants(room_name) if p.identity.startswith("sm-manager")]


def worker_name(stack: Stack) -> str:
    """The agent name under which LiveKit offers jobs to the API's manager agent."""
    return stack.app[ACTING].worker_name(stack.app[SETTINGS].agent_name)


def take_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let managers join only when LiveKit offers their jobs."""
    monkeypatch.setattr(ManagerDispatch, "is_taken_at_once", False)
