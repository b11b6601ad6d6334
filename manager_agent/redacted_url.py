"""URLs as they may be logged. PURE."""

from __future__ import annotations

from yarl import URL


def redacted_url(text: str) -> str:
    """A URL as it may be logged: without user, password, query and fragment, any of which may hold a secret. Of what is
    no URL with a host nothing is shown."""
    try:
        url = URL(text)
    except ValueError:
        return ""
    return str(url.with_user(None).with_query(None).with_fragment(None)) if url.host else ""
