"""Variables that are no setting, but look like the misspelt name of one that is not set."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

ALIKE = 0.88
"""How alike two names must be: one wrong, missing or swapped letter in a name of eight is."""
OTHERS = ("OTEL_", "SERVICE_", "SESSION_MANAGER_")
"""How names begin that other programs read, among them the services and commands of this project."""


def misspelt(kind: type[BaseSettings], known: Collection[str]) -> dict[str, str]:
    """The variables of the environment and of `.env` that are most likely misspelt, and what is meant. `known`: the
    names of the settings."""
    found = (*EnvSettingsSource(kind).env_vars, *DotEnvSettingsSource(kind).env_vars)
    return likely_meant((name.upper() for name in found), known)


def likely_meant(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """PURE."""
    found = set(names)
    candidates = sorted(found.difference(known))
    unset = sorted(set(known).difference(found))
    close = {
        name: get_close_matches(name, unset, n=1, cutoff=ALIKE) for name in candidates if not name.startswith(OTHERS)
    }
    return {name: meant[0] for name, meant in close.items() if meant}
