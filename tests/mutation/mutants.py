"""Makes the mutants of source files, with mutmut's operators: each is the file with one small change.

Runs in the Python of `.venv/mutation`, which has mutmut, and imports nothing of ours:
`python mutants.py FILE...` prints one mutant a line, as JSON: `path`, `line`, `end_line` and the file's mutated text.

mutmut's own runner leaves out every decorated function. A session says by properties what state it is in, so here
they are mutated too. What runs when a module is imported is left out: constants, defaults of fields and parameters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import libcst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import Mutation, MutationVisitor, OuterFunctionProvider, deep_replace
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode


class MutatedSource(NamedTuple):
    path: str
    line: int
    end_line: int
    source: str


class Mutator(MutationVisitor):  # type: ignore[misc]
    METADATA_DEPENDENCIES = (PositionProvider, OuterFunctionProvider)

    def __init__(self) -> None:
        super().__init__(mutation_operators, IgnoredCode(set(), set(), set()))
        self.positions: list[CodeRange | None] = []
        """Of each mutation."""

    def _skip_node_and_children(self, node: libcst.CSTNode) -> bool:
        match node:
            case libcst.FunctionDef(decorators=[_, *_]):
                return False
            case libcst.Param() | libcst.Decorator() | libcst.Assert() | libcst.Arg(keyword=libcst.Name("strict")):
                return True  # an assertion says what holds anyway, as zip(strict=True) does: no test can break it
        return bool(super()._skip_node_and_children(node))

    def _create_mutations(self, node: libcst.CSTNode) -> None:
        known = len(self.mutations)
        super()._create_mutations(node)
        found = [mutation for mutation in self.mutations[known:] if _can_fail_a_test(mutation)]
        self.mutations[known:] = found
        self.positions += [self.get_metadata(PositionProvider, node, None)] * len(found)


def _can_fail_a_test(mutation: Mutation) -> bool:
    """Whether it is in a function, and changes more than the `strict` of a zip."""
    match mutation.original_node, mutation.mutated_node:
        case libcst.Call() as call, libcst.Call() as mutated if len(checked := _without_strict(call)) < len(call.args):
            changed = _without_strict(mutated)
            if len(checked) == len(changed) and all(map(_is_same_value, checked, changed)):
                return False
    return isinstance(mutation.contained_by_top_level_function, libcst.FunctionDef)


def _without_strict(call: libcst.Call) -> list[libcst.Arg]:
    return [arg for arg in call.args if arg.keyword is None or arg.keyword.value != "strict"]


def _is_same_value(one: libcst.Arg, other: libcst.Arg) -> bool:
    return bool(one.value.deep_equals(other.value))


def mutants(path: str) -> Iterator[MutatedSource]:
    """All mutants of a file that differ in their text, in the order of its lines."""
    source = Path(path).read_text()
    wrapper = MetadataWrapper(libcst.parse_module(source))
    mutator = Mutator()
    wrapper.visit(mutator)
    functions = wrapper.resolve(PositionProvider)
    seen = {source}
    for mutation, position in zip(mutator.mutations, mutator.positions, strict=True):
        position = position or functions[mutation.contained_by_top_level_function]
        mutated = _spliced(source, wrapper.module, mutation, position) or _replaced(wrapper.module, mutation)
        if mutated not in seen:
            seen.add(mutated)
            yield MutatedSource(path, position.start.line, position.end.line, mutated)


def _spliced(source: str, module: libcst.Module, mutation: Mutation, position: CodeRange) -> str | None:
    """The source with the node's text replaced; None where that is not the text at its position."""
    lines = source.splitlines(keepends=True)
    start = sum(map(len, lines[: position.start.line - 1])) + position.start.column
    end = sum(map(len, lines[: position.end.line - 1])) + position.end.column
    if source[start:end] != module.code_for_node(mutation.original_node):
        return None
    return source[:start] + str(module.code_for_node(mutation.mutated_node)) + source[end:]


def _replaced(module: libcst.Module, mutation: Mutation) -> str:
    """The same for any node, which takes a hundred times as long."""
    mutated = deep_replace(module, mutation.original_node, mutation.mutated_node)
    assert isinstance(mutated, libcst.Module)
    return str(mutated.code)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for mutant in mutants(name):
            print(json.dumps(mutant))
