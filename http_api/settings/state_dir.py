"""The STATE_DIR of programs that are started by hand: `session-manager serve` and scripts/run."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from yarl import URL

from http_api.settings.settings import Settings


def with_state_dir(settings: Settings) -> Settings:
    """These settings, with the user's own directory for the deployment if they have no STATE_DIR and no REDIS_URL.

    It is `$XDG_STATE_HOME/session-manager/<DEPLOYMENT>-<LiveKit>`; XDG_STATE_HOME is `~/.local/state` unless it is an
    absolute path, and `<LiveKit>` a digest of the server's address: deployments of two servers may have one name. A
    user without a home directory has none.
    """
    if settings.state_dir is not None or settings.redis_url is not None:
        return settings
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        home = home if home.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return settings
    name = f"{settings.deployment}-{_server_digest(settings.livekit_server_url)}"
    return settings.model_copy(update={"state_dir": home / "session-manager" / name})


def _server_digest(livekit_url: str) -> str:
    url = URL(livekit_url)
    return hashlib.sha256(f"{url.host}:{url.port}{url.path.rstrip('/')}".encode()).hexdigest()[:8]
