"""Why LiveKit answers 401: its API key, its secret, or its clock is another than ours. Waiting never helps.

livekit-api drops the text of such an answer, so LiveKit is asked once more. The text itself contains our token and is
shown to no one.
"""

from __future__ import annotations

import aiohttp
from livekit import api
from yarl import URL

from manager_agent.livekit_url import http_url

METHOD = "twirp/livekit.RoomService/ListRooms"
REASONS = (
    ("invalid api key", "LIVEKIT_API_KEY is none of the keys of livekit-server"),
    ("signature is invalid", "LIVEKIT_API_SECRET is not the secret of LIVEKIT_API_KEY on livekit-server"),
    ("expired", "the clock of this machine is behind that of livekit-server"),
    ("not valid yet", "the clock of this machine is ahead of that of livekit-server"),
    ("used before issued", "the clock of this machine is ahead of that of livekit-server"),
)
"""What LiveKit writes, in lower case, and what it means."""
UNKNOWN = "livekit-server does not accept LIVEKIT_API_KEY and LIVEKIT_API_SECRET"


def reason_in(text: str) -> str:
    """What the text of a 401 means. Contains nothing of the text."""
    return next((reason for words, reason in REASONS if words in text.lower()), UNKNOWN)


async def why_rejected(http: aiohttp.ClientSession, livekit_url: str, api_key: str, api_secret: str) -> str | None:
    """Ask LiveKit why it rejects us; None if it does not. Raises aiohttp.ClientError, TimeoutError."""
    token = api.AccessToken(api_key, api_secret).with_grants(api.VideoGrants(room_list=True)).to_jwt()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/protobuf"}
    async with http.post(URL(http_url(livekit_url)) / METHOD, data=b"", headers=headers) as answer:
        return reason_in(await answer.text(errors="replace")) if answer.status == 401 else None
