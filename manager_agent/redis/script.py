"""Lua scripts: each changes several keys in one step, or reads them as they are together.

A script is a file in lua/. Its first line is `#!lua`: when Redis is full, the script is refused before it begins; or
`#!lua flags=allow-oom`, for what must go on then. Without either, a full Redis would carry out all that comes after a
first command which only deletes.

A line `-- include: NAME` stands for the file lua/NAME.lua, which has functions that several scripts need. A line
`-- urgent` says that the script does not wait for its turn behind other commands, so that a burst holds up no lease.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from importlib.resources import files

URGENT = re.compile(r"^-- urgent$", re.MULTILINE)
INCLUDE = re.compile(r"^-- include: ([a-z_]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    name: str
    source: str = field(repr=False)
    sha: str = field(init=False, repr=False)
    """By which Redis knows it: EVALSHA."""
    is_urgent: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_urgent", URGENT.search(self.source) is not None)
        digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


def load_script(name: str) -> Script:
    """The script of lua/NAME.lua. Raises FileNotFoundError."""
    return Script(name, INCLUDE.sub(lambda match: _read(match[1]), _read(name)))


def _read(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
