"""Who is in the room according to the SDK, which reports everyone as gone when it connects anew."""

from __future__ import annotations

from collections.abc import Iterable

from manager_agent.session.events import ParticipantInfo


class Attendance:
    def __init__(self) -> None:
        self._here: dict[str, ParticipantInfo] = {}
        self._is_reconnecting = False

    def seen(self, participant: ParticipantInfo) -> None:
        self._here[participant.sid] = participant

    def left(self, sid: str) -> bool:
        """Whether the participant has really left. While the SDK reconnects that is not known: see `reconnected`."""
        if self._is_reconnecting:
            return False
        self._here.pop(sid, None)
        return True

    def reconnecting(self) -> None:
        self._is_reconnecting = True

    def reconnected(self, present: Iterable[str]) -> list[ParticipantInfo]:
        """The participants that were here before and are not among these sids now."""
        self._is_reconnecting = False
        remaining = set(present)
        gone = [participant for sid, participant in self._here.items() if sid not in remaining]
        self._here = {sid: participant for sid, participant in self._here.items() if sid in remaining}
        return gone
