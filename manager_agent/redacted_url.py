"""URLs without secrets, for logs. PURE."""

from __future__ import annotations

from yarl import URL


def redacted_url(text: str) -> str:
    """The URL without user, password, query and fragment, any of which may contain a secret. Empty for text that is not
    a URL with a host."""
    try:
        url = URL(text)
    except ValueError:
        return ""
    return str(url.with_user(None).with_query(None).with_fragment(None)) if url.host else ""
