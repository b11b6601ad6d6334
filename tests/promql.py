"""The metrics, labels and label values that a PromQL expression uses.

Covers the part of the language that deploy/ uses. Anything else is an error: it is meant to find mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = re.compile(
    r'\s+|(?P<text>"[^"]*")|(?P<range>\[[^\]]+\])|(?P<number>\d+(\.\d+)?\b)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)'
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/<>=(){},])"
)
FUNCTIONS = frozenset({"rate", "increase", "histogram_quantile", "sum", "min", "max"})
GROUPING = frozenset({"by"})
MATCHING = frozenset({"on"})
SET_OPERATORS = frozenset({"and", "or", "unless"})
LISTED = re.compile(r"[\w|]+")
"""A regular expression that is nothing but a choice of words."""


@dataclass
class Selector:
    """One metric of an expression."""

    metric: str
    labels: set[str] = field(default_factory=set)
    """The labels it is matched or grouped by."""
    values: dict[str, set[str]] = field(default_factory=dict)
    """By label: the values that are listed explicitly."""


def selectors(expression: str) -> list[Selector]:
    """Every metric of the expression. Raises ValueError."""
    reading = _PromqlParser(list(_tokens(expression)))
    found = reading.expression(set())
    if reading.rest:
        raise ValueError(f"{expression!r}: what is {reading.rest[0]!r}?")
    return found


def _tokens(expression: str) -> Iterator[str]:
    at = 0
    while at < len(expression):
        token = TOKEN.match(expression, at)
        if token is None:
            raise ValueError(f"{expression!r}: what is {expression[at:]!r}?")
        at = token.end()
        if token.lastgroup is not None:
            yield token[0]


@dataclass
class _PromqlParser:
    rest: list[str]

    def expression(self, by: set[str]) -> list[Selector]:
        """Up to the parenthesis, or the comma, that ends it. `by`: what all in it are summed up by."""
        found: list[Selector] = []
        while self.rest and self.rest[0] not in "),":
            token = self.rest.pop(0)
            if token == "(":
                found += self._inside(by)
            elif token in FUNCTIONS:
                found += self._called(by)
            elif token in MATCHING:
                by = by | self._matched(found)
            elif re.match(r"[A-Za-z_]", token) and token not in SET_OPERATORS:
                found.append(self._selector(token, by))
        return found

    def _called(self, by: set[str]) -> list[Selector]:
        """A function, or an aggregation with the labels that remain."""
        if self.rest[0] in GROUPING:
            self.rest.pop(0)
            self._take("(")
            by = by | set(self._labels(")"))
        self._take("(")
        return self._inside(by)

    def _matched(self, left: list[Selector]) -> set[str]:
        """The labels that those on its left and on its right are matched by."""
        self._take("(")
        matched = set(self._labels(")"))
        for selector in left:
            selector.labels |= matched
        return matched

    def _inside(self, by: set[str]) -> list[Selector]:
        found = self.expression(by)
        while self.rest and self.rest[0] == ",":
            self.rest.pop(0)
            found += self.expression(by)
        self._take(")")
        return found

    def _selector(self, metric: str, by: set[str]) -> Selector:
        selector = Selector(metric, set(by))
        if self.rest and self.rest[0] == "{":
            self.rest.pop(0)
            while self.rest[0] != "}":
                label, operator, value = (self.rest.pop(0) for _ in range(3))
                selector.labels.add(label)
                words = value.strip('"')
                if operator in ("=", "!="):
                    selector.values.setdefault(label, set()).add(words)
                elif LISTED.fullmatch(words):
                    selector.values.setdefault(label, set()).update(words.split("|"))
                if self.rest[0] == ",":
                    self.rest.pop(0)
            self._take("}")
        if self.rest and self.rest[0].startswith("["):
            self.rest.pop(0)
        if self.rest and self.rest[0] == "(":
            raise ValueError(f"what does {metric!r} do?")
        return selector

    def _labels(self, end: str) -> Iterator[str]:
        while (token := self.rest.pop(0)) != end:
            if token != ",":
                yield token

    def _take(self, token: str) -> None:
        if not self.rest or self.rest.pop(0) != token:
            raise ValueError(f"a {token!r} is missing")
