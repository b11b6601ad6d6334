"""The URL of a livekit-server, in the one form that every part of LiveKit understands. PURE.

SDKs append `/rtc`, `/agent` and `/twirp/...` to the URL as it is, some of them without looking for a slash at its end,
and only some take http for ws.
"""

from __future__ import annotations

from yarl import URL

SOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def read_livekit_url(text: str) -> str:
    """The ws or wss URL of a server, with the path below which a proxy serves it, and no slash at the end. Takes http
    and https too. Raises ValueError, whose message contains nothing of the text."""
    try:
        url = URL(text)
    except ValueError:
        raise ValueError("is not a URL") from None
    if not text.isprintable() or " " in text:
        raise ValueError("must be a URL without spaces and control characters")
    if url.scheme not in SOCKET_SCHEMES or not url.host:
        raise ValueError("must be a ws, wss, http or https URL with a host")
    if url.user is not None or url.password is not None or "?" in text or "#" in text:
        raise ValueError("must be a plain URL: no user or password, query or fragment")
    scheme, _, rest = text.partition("://")
    return f"{SOCKET_SCHEMES[scheme.lower()]}://{rest.rstrip('/')}"


def http_url(url: str) -> str:
    """The http or https URL of the same server, without a slash at the end."""
    return "http" + url.removeprefix("ws")
