"""Lets a running process go on with the functions of a mutant, wherever they were imported to."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import _lru_cache_wrapper
from types import CodeType, FunctionType
from typing import TypeGuard

CO_OPTIMIZED = 0x1
"""The flag of a function's code, which the body of a class does not have."""


def outer_functions(code: CodeType) -> Iterator[CodeType]:
    """The code of a module's functions and of its classes' methods, in their order; not of functions inside them."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & CO_OPTIMIZED:
                yield inner
            else:
                yield from outer_functions(inner)


def does_the_same(first: CodeType, second: CodeType) -> bool:
    """Whether two functions are the same but for their lines."""
    return _essence(first) == _essence(second)


def _essence(code: CodeType) -> tuple[object, ...]:
    # 1 == 1.0 == True, but they are not the same constants.
    constants = [(type(one), _essence(one) if isinstance(one, CodeType) else repr(one)) for one in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable


def _is_of(function: object, path: str) -> TypeGuard[FunctionType]:
    return isinstance(function, FunctionType) and function.__code__.co_filename.endswith(path)


class LoadedFunctions:
    """All functions that were made of a file's code, among them those inside properties, and their caches."""

    def __init__(self, path: str, source: str) -> None:
        self._codes = list(outer_functions(compile(source, path, "exec", dont_inherit=True)))
        named = {(code.co_qualname, code.co_firstlineno): index for index, code in enumerate(self._codes)}
        self._functions: dict[int, list[FunctionType]] = {}
        self._caches: list[_lru_cache_wrapper[object]] = []
        for one in gc.get_objects():
            if isinstance(one, _lru_cache_wrapper) and _is_of(one.__wrapped__, path):
                self._caches.append(one)
            elif _is_of(one, path):
                index = named.get((one.__code__.co_qualname, one.__code__.co_firstlineno))
                if index is not None:
                    self._functions.setdefault(index, []).append(one)

    def changed(self, mutated: str) -> dict[int, CodeType]:
        """The code of a mutant that differs, by the number of its function. Empty if the mutant does the same."""
        codes = list(outer_functions(compile(mutated, "mutant", "exec", dont_inherit=True)))
        pairs = enumerate(zip(self._codes, codes, strict=True))
        return {index: new for index, (old, new) in pairs if not does_the_same(old, new)}

    def name(self, index: int) -> str:
        return self._codes[index].co_qualname

    def lines(self, index: int) -> range:
        code = self._codes[index]
        known = [line for *_, line in code.co_lines() if line is not None]
        return range(min(known), max(known) + 1)

    def swap(self, changed: dict[int, CodeType]) -> bool:
        """Whether a function was there to change."""
        functions = [(one, code) for index, code in changed.items() for one in self._functions.get(index, [])]
        for function, code in functions:
            function.__code__ = code
        for cache in self._caches:
            cache.cache_clear()  # of what the functions returned before
        return bool(functions)
