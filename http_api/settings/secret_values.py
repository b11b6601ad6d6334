"""The secrets among the settings: which values must never be shown, and which are short enough to be guessed."""

from __future__ import annotations

from urllib.parse import quote

from http_api.settings.settings import Settings
from http_api.settings.types import secrets_of

SECRET_MIN = 32
"""Characters. RFC 7518, section 3.2: a key of HS256 must have as many bits as its hash."""


def secret_values(settings: Settings) -> frozenset[str]:
    """The values that must never be shown."""
    digests = (entry.digest for entry in settings.api_keys)
    headers = (value.get_secret_value() for value in settings.otel_exporter_otlp_headers.values())
    words = (word for header in headers for word in (header, header.split()[-1]))  # also the token of `Bearer ...`
    ours = {settings.livekit_api_secret.get_secret_value(), settings.invite_keys[1], *digests, *words}
    return frozenset(ours) | settings.vector_log_endpoint.secrets | _secrets_of_redis(settings)


def kept_from_logs(settings: Settings) -> frozenset[str]:
    """The secrets, and possible secrets in callback URLs, which only their owners may see."""
    urls = settings.callback_urls.values()
    return secret_values(settings).union(*(secrets_of(url.get_secret_value()) for url in urls))


def short_secrets(settings: Settings) -> tuple[str, ...]:
    """The variables whose secret is short enough to be guessed. None in dev mode, where everyone knows it."""
    secrets = {"LIVEKIT_API_SECRET": settings.livekit_api_secret, "INVITE_API_SECRET": settings.invite_api_secret}
    known = {name: len(secret.get_secret_value()) for name, secret in secrets.items() if secret is not None}
    return () if settings.dev else tuple(name for name, length in known.items() if length < SECRET_MIN)


def _secrets_of_redis(settings: Settings) -> frozenset[str]:
    """The URL, and its passwords as they are and as they are written."""
    if settings.redis_url is None or (url := settings.shared_redis) is None:
        return frozenset()
    passwords = [password for password in (url.password, url.sentinel_password) if password]
    if not passwords:
        return frozenset()
    return frozenset({settings.redis_url.get_secret_value(), *passwords, *map(quote, passwords)})
