"""The STATE_DIR of programs that are started by hand: `session-manager serve` and scripts/run."""

from __future__ import annotations

import os
from pathlib import Path

from http_api.settings.settings import Settings


def with_state_dir(settings: Settings) -> Settings:
    """These settings, with the user's own directory for the deployment if they have no STATE_DIR.

    It is `$XDG_STATE_HOME/session-manager/<DEPLOYMENT>`; XDG_STATE_HOME is `~/.local/state` unless it is an absolute
    path. A user without a home directory has none.
    """
    if settings.state_dir is not None:
        return settings
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        home = home if home.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return settings
    return settings.model_copy(update={"state_dir": home / "session-manager" / settings.deployment})
