"""Parse YAML into plain JSON values and the line of each.

What JSON can't express is reported as a mistake: tags, keys that are not strings, duplicate keys, infinity. `no`, `on`
and dates are strings, as in YAML 1.2: `no` may be the language Norwegian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from http_api.protocol.bodies import DEPTH_MAX, UNPRINTABLE, field_path

Loc = tuple[int | str, ...]
TAG = "tag:yaml.org,2002:"
STRING_TAGS = frozenset({f"{TAG}str", f"{TAG}timestamp"})
NUMBER_OR_NULL_TAGS = frozenset({f"{TAG}int", f"{TAG}float", f"{TAG}null"})
BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    line: int
    field: str
    detail: str


@dataclass(slots=True)
class Document:
    value: Any = None
    mistakes: list[Mistake] = field(default_factory=list)
    """What could not be parsed. It is null in `value`."""
    lines: dict[Loc, int] = field(default_factory=dict)

    def line(self, loc: Sequence[int | str]) -> int:
        """The line of the value at `loc`, or of the nearest enclosing value if there is none. Parts in parentheses or
        brackets are pydantic's own, for the branch of a union and for a key."""
        known: Loc = tuple(part for part in loc if isinstance(part, int) or not part.startswith(("(", "[")))
        while known not in self.lines and known:
            known = known[:-1]
        return self.lines.get(known, 1)


def read_yaml(raw: bytes) -> Document:
    """Parse `raw`, which contains one document. The value is None if it is empty or is not YAML."""
    try:
        loader = yaml.SafeLoader(raw)
        node, document = loader.get_single_node(), Document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return Document(mistakes=[Mistake(line, "", f"is not YAML: {error.problem}")])
    except (yaml.YAMLError, UnicodeError) as error:
        return Document(mistakes=[Mistake(1, "", f"is not YAML: {str(error).splitlines()[0]}")])
    except RecursionError:
        return Document(mistakes=[Mistake(1, "", f"is nested deeper than {DEPTH_MAX} levels")])
    if node is not None:
        document.value = _Parser(loader, document).value(node, ())
    return document


class _Parser:
    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader, self._document = loader, document

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self._document.lines.setdefault(loc, _line(node))
        if len(loc) > DEPTH_MAX:
            return self._wrong(node, loc, f"is nested deeper than {DEPTH_MAX} levels")
        match node:
            case yaml.MappingNode():
                return self._mapping(node, loc)
            case yaml.SequenceNode():
                return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, loc)
        raise AssertionError(node)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, item in node.value:
            key = self._scalar(key_node, loc) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._wrong(key_node, loc, "has a key that is not a string; put it in quotes")
            elif key in found:
                self._wrong(key_node, (*loc, key), f"is already in line {self._document.line((*loc, key))}")
            else:
                self._document.lines[(*loc, key)] = _line(key_node)
                found[key] = self.value(item, (*loc, key))
        return found

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        text, tag = str(node.value), node.tag
        if tag == f"{TAG}bool":
            return BOOLEANS.get(text.lower(), text)
        if tag in STRING_TAGS:
            return self._wrong(node, loc, "has a control character") if UNPRINTABLE.search(text) else text
        if tag not in NUMBER_OR_NULL_TAGS:
            return self._wrong(node, loc, f"has an unsupported tag: {tag.removeprefix(TAG)}")
        try:
            number = self._loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return self._wrong(node, loc, "is not a number")
        if isinstance(number, float) and not math.isfinite(number):
            return self._wrong(node, loc, "is not finite")
        return number

    def _wrong(self, node: yaml.Node, loc: Loc, detail: str) -> None:
        self._document.mistakes.append(Mistake(_line(node), field_path(loc) if loc else "", detail))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
