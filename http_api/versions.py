"""The versions of what runs here."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache

from http_api import VERSION


@cache
def library_versions() -> Mapping[str, str]:
    """Of the packages whose behavior this program depends on most, by their names."""
    from importlib.metadata import version  # it looks through all packages, which no start has to wait for

    return {name: version(name) for name in ("livekit", "livekit-agents")}


def version_line() -> str:
    """For `--version`: one line, this program first."""
    named = {**library_versions(), "Python": platform.python_version()}
    return f"session-manager {VERSION} ({', '.join(f'{name} {number}' for name, number in named.items())})"
