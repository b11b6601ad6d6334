"""A line-by-line reader of server-sent events. PURE."""

from __future__ import annotations

from dataclasses import dataclass, field

DIGITS_MAX = 9
"""Digits of a `retry` in milliseconds; longer values are ignored."""


@dataclass(frozen=True, slots=True)
class Event:
    data: str
    id: str
    """The last id received, with this event or an earlier one: the value for `Last-Event-ID`."""
    name: str = "message"
    retry: float = 0.0
    """Seconds to wait before reconnecting, as the server last sent it."""


@dataclass(slots=True)
class EventReader:
    """Assembles events from the lines of a stream. Ignores comments, such as heartbeats, and unknown fields."""

    _id: str = ""
    _retry: float = 0.0
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def line(self, line: str) -> Event | None:
        """Take the next line, with or without its line ending. Returns the event if the line completes one."""
        line = line.rstrip("\r\n")
        if not line:
            name, data = self._name, self._data
            self._name, self._data = "", []
            return Event("\n".join(data), self._id, name or "message", self._retry) if data else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= DIGITS_MAX:
            self._retry = int(value) / 1_000
        return None
