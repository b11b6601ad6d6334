"""What is said of settings that are missing or invalid. Values are not shown: they may be or contain secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

OTHER_NAMES = {"LIVEKIT_SERVER_URL": "LIVEKIT_URL"}
"""Variables with a second name: the one that LiveKit's own tools use."""
COMPLAINT = "These environment variables are missing or invalid:"


class BadSettings(Exception):
    """The settings are invalid. The message names every invalid variable, but shows no values."""


def complaint(wrong: ValidationError, *, dev: bool, meant: Mapping[str, str], dotenv: Path) -> str:
    """A message that lists every invalid variable. `meant`: misspelt variables, and what is meant; `dotenv`: where
    `.env` was looked for."""
    errors = wrong.errors(include_input=False, include_url=False)
    lines = [f"  {_variable(error['loc'])}{_what(error['type'], error['msg'])}" for error in errors]
    lines += [f"  {name} is set: is {setting} meant?" for name, setting in meant.items()]
    if any(error["type"] == "missing" for error in errors):
        lines.append(f"Variables are read from the environment and from {dotenv}{_state_of(dotenv)}.")
        if not dev:
            lines.append("`--dev` starts with the key and secret of `livekit-server --dev`.")
    return "\n".join([COMPLAINT, *lines])


def _state_of(dotenv: Path) -> str:
    return "" if dotenv.exists() else ", which does not exist"


def _variable(loc: tuple[int | str, ...]) -> str:
    name = str(loc[0]).upper()
    return f"{name} (or {OTHER_NAMES[name]}): " if name in OTHER_NAMES else f"{name}: "


def _what(kind: str, message: str) -> str:
    return "is missing" if kind == "missing" else message.removeprefix("Value error, ")
