"""The URL to which logs are shipped, which may contain a user and a password. PURE."""

from __future__ import annotations

from dataclasses import dataclass, field

from yarl import URL


@dataclass(frozen=True, slots=True)
class LogEndpoint:
    """`str()` is the URL without credentials, safe to show."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        return str(URL(self.url).with_user(None)) if self.has_credentials else self.url

    @property
    def has_credentials(self) -> bool:
        return "@" in URL(self.url).raw_authority

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password; empty strings when not given."""
        url = URL(self.url)
        return url.user or "", url.password or ""

    @property
    def secrets(self) -> frozenset[str]:
        """The values that must never be shown: the password, decoded and as written in the URL."""
        url = URL(self.url)
        return frozenset(filter(None, (url.password, url.raw_password)))

    def post_to(self, default_path: str) -> URL:
        """The URL to which batches are posted: with the endpoint's own path, or `default_path` when it has none."""
        url = URL(self.url).with_user(None)
        return url if url.path not in ("", "/") else url.with_path(default_path)

    def on_origin(self, path: str) -> URL:
        """The URL of `path` on the same server."""
        return URL(self.url).with_user(None).with_path(path)


def read_log_endpoint(text: str) -> LogEndpoint:
    """Parse the endpoint. Raises ValueError, whose message contains nothing of the text."""
    try:
        url = URL(text)
        if url.scheme not in ("http", "https") or not url.host or url.port is None:
            raise ValueError
    except ValueError:
        raise ValueError("must be an http or https URL with a host") from None
    if url.query_string or url.fragment:
        raise ValueError("must have no query and no fragment")
    if ":" in (url.user or ""):
        raise ValueError("must have no colon in the user name")  # Basic authentication does not allow it: RFC 7617
    return LogEndpoint(text)
