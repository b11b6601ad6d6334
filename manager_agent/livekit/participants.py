"""Translates the participants of LiveKit's API and SDK into ParticipantInfo."""

from __future__ import annotations

from livekit import rtc
from livekit.protocol import models

from manager_agent.session.events import ParticipantInfo


def participant_of(info: models.ParticipantInfo) -> ParticipantInfo:
    """From the server API or a webhook."""
    return ParticipantInfo(
        identity=info.identity,
        sid=info.sid,
        joined_ms=info.joined_at_ms,
        is_agent=info.kind == models.ParticipantInfo.Kind.AGENT,
        attributes=dict(info.attributes),
    )


def participant_in_room(participant: rtc.Participant) -> ParticipantInfo:
    """From the SDK in a room."""
    joined = participant.joined_at
    return ParticipantInfo(
        identity=participant.identity,
        sid=participant.sid,
        joined_ms=int(joined.timestamp() * 1000) if joined else 0,
        is_agent=participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT,
        attributes=participant.attributes,
    )
