"""Translates the participants of LiveKit's API and SDK into ParticipantInfo."""

from __future__ import annotations

from collections.abc import Mapping

from livekit import rtc
from livekit.protocol import models

from manager_agent.session.events import ParticipantInfo

CALL_STATUS, CALL_ACTIVE = "sip.callStatus", "active"
"""LiveKit SIP puts a phone into the room before it is picked up. Its other states are `dialing`, `ringing`,
`automation` (still sending DTMF) and `hangup`."""


def participant_of(info: models.ParticipantInfo) -> ParticipantInfo:
    """From the server API or a webhook."""
    return ParticipantInfo(
        identity=info.identity,
        sid=info.sid,
        joined_ms=info.joined_at_ms,
        is_agent=info.kind == models.ParticipantInfo.Kind.AGENT,
        is_ringing=info.kind == models.ParticipantInfo.Kind.SIP and _is_ringing(info.attributes),
        is_hidden=info.permission.hidden,
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
        is_ringing=participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_SIP and _is_ringing(participant.attributes),
        attributes=participant.attributes,
    )


def may_be_replaced(reason: int | None) -> bool:
    """Whether a participant that left for this reason was put out by another one that joined under its identity. The
    SDK knows of no reason if it learns of the other one before the leave."""
    return reason in (None, models.DisconnectReason.DUPLICATE_IDENTITY)


def _is_ringing(attributes: Mapping[str, str]) -> bool:
    """Whether the call of a SIP participant with these attributes is not established. An older LiveKit SIP tells no
    status."""
    return attributes.get(CALL_STATUS, CALL_ACTIVE) != CALL_ACTIVE
