"""Print the variables of deploy/compose.yaml with new secrets: `python -m scripts.compose_env >deploy/.env`."""

from __future__ import annotations

import secrets

from http_api.access.api_keys import digest_of, new_key


def compose_variables() -> dict[str, str]:
    """What compose.yaml needs and has no default for."""
    application, metrics = new_key(), new_key()
    return {
        "LIVEKIT_API_KEY": "session-manager",
        "LIVEKIT_API_SECRET": secrets.token_urlsafe(32),
        "INVITE_API_KEY": "invites",
        "INVITE_API_SECRET": secrets.token_urlsafe(32),
        "API_KEYS": f"application:{digest_of(application)},prometheus:{digest_of(metrics)}:metrics",
        "SESSION_MANAGER_API_KEY": application,
        "METRICS_API_KEY": metrics,
        "REDIS_PASSWORD": secrets.token_hex(32),  # as an argument of redis-server it can't begin with --
        "GRAFANA_PASSWORD": secrets.token_urlsafe(16),
    }


if __name__ == "__main__":
    for name, value in compose_variables().items():
        print(f"{name}={value}")
