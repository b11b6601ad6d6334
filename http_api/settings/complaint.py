"""What is said of settings that are missing or invalid. Values are not shown: they may be or contain secrets."""

from __future__ import annotations

from pydantic import ValidationError

OTHER_NAMES = {"LIVEKIT_SERVER_URL": "LIVEKIT_URL"}
"""Variables with a second name: the one that LiveKit's own tools use."""
COMPLAINT = "These environment variables are missing or invalid:"


class BadSettings(Exception):
    """The settings are invalid. The message names every invalid variable, but shows no values."""


def complaint(wrong: ValidationError, *, dev: bool) -> str:
    """A message that lists every invalid variable."""
    errors = wrong.errors(include_input=False, include_url=False)
    lines = [f"  {_variable(error['loc'])}{_what(error['type'], error['msg'])}" for error in errors]
    missing = any(error["type"] == "missing" for error in errors)
    hint = "\n`--dev` starts with the key and secret of `livekit-server --dev`." if missing and not dev else ""
    return f"{COMPLAINT}\n" + "\n".join(lines) + hint


def _variable(loc: tuple[int | str, ...]) -> str:
    name = str(loc[0]).upper()
    return f"{name} (or {OTHER_NAMES[name]}): " if name in OTHER_NAMES else f"{name}: "


def _what(kind: str, message: str) -> str:
    return "is missing" if kind == "missing" else message.removeprefix("Value error, ")
