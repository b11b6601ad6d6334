"""The strings below the attributes of a class, which say what those are."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise


def attribute_docstrings(kind: type) -> dict[str, str]:
    """The string below each attribute that a class of a module itself annotates, by the name of the attribute.

    They are read from the source when they are asked for. Pydantic's `use_attribute_docstrings` reads those of every
    model at the start of the process, each time the whole module.
    """
    return _by_class(kind.__module__)[kind.__name__]


@cache
def _by_class(module: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {one.name: dict(_below_attributes(one)) for one in tree.body if isinstance(one, ast.ClassDef)}


def _below_attributes(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                yield name, inspect.cleandoc(docstring)
