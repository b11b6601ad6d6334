"""The text of a setting, as whatever sets environment variables leaves it. PURE."""

from __future__ import annotations

from typing import Any


def without_quotes(value: Any) -> Any:
    """The value without spaces and line ends around it. Raises ValueError for one in quotes: `docker --env-file` and
    systemd's `Environment=` leave them, a shell does not."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise ValueError("is in quotes: write it without (docker's --env-file does not remove them)")
    return text
