"""Server-sent events, read line by line. PURE."""

from __future__ import annotations

from dataclasses import dataclass, field

DIGITS_MAX = 9
"""Of milliseconds that are meant."""


@dataclass(frozen=True, slots=True)
class Event:
    data: str
    id: str
    """The last id that came, with this event or an earlier one; what `Last-Event-ID` is to say."""
    name: str = "message"
    retry: float = 0.0
    """Seconds after which who is cut off is asked to come back, as was last said."""


@dataclass(slots=True)
class EventReader:
    """Puts events together from the lines of a stream. Comments, such as heartbeats, and unknown fields are ignored."""

    _id: str = ""
    _retry: float = 0.0
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def line(self, line: str) -> Event | None:
        """Takes the next line, its end included or not; the event that it completes, if it does."""
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
