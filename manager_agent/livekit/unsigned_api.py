"""livekit-api's clients of rooms and dispatches, without its signing.

livekit-api makes a new token for each call, with as much CPU as the rest of the call takes before it is sent. But every
request is signed by a middleware of the HTTP session, in LiveKit's time (livekit_clock.py). So the token that it finds
there is not signed yet.
"""

from __future__ import annotations

import re
from dataclasses import fields

import aiohttp
import msgspec
from livekit import api
from livekit.api.agent_dispatch_service import AgentDispatchService
from livekit.api.room_service import RoomService

from manager_agent.livekit.jws import unsigned

_CLAIMS = tuple(
    (field.name, re.sub("_([a-z])", lambda found: found[1].upper(), field.name)) for field in fields(api.VideoGrants)
)
"""Each grant, and its name in a token."""


class _UnsignedCalls:
    """In place of the signing in livekit-api's `Service`."""

    api_key: str

    def _auth_header(self, grants: api.VideoGrants | None, sip: api.SIPGrants | None = None) -> dict[str, str]:
        assert grants is not None, "each call of these services needs some"
        assert sip is None, "none of these services is about telephony"
        granted = {claim: value for name, claim in _CLAIMS if (value := getattr(grants, name)) not in (None, "")}
        claims = {"iss": self.api_key, "video": granted}
        return {"Authorization": f"Bearer {unsigned(msgspec.json.encode(claims))}"}


class UnsignedRoomService(_UnsignedCalls, RoomService):
    pass


class UnsignedDispatchService(_UnsignedCalls, AgentDispatchService):
    pass


class UnsignedAPI:
    """Like api.LiveKitAPI. `http` has to sign the requests, and is not closed."""

    def __init__(self, url: str, api_key: str, http: aiohttp.ClientSession) -> None:
        self.room = UnsignedRoomService(http, url, api_key, "", failover=False)
        self.agent_dispatch = UnsignedDispatchService(http, url, api_key, "", failover=False)
