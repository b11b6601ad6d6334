"""Import modules with stand-ins for what they take from other modules and use only later, if at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from manager_agent.deferred_modules import PackageWithDeferredModules


@contextmanager
def deferred_values(package: str, *parts: str) -> Iterator[None]:
    """Within the block, modules import these modules of the package, or names from them, without loading them.

    Each gets a stand-in, which loads the module when it is called or asked for an attribute. So it may stand for a
    module, a function or an object, but not for a base class or a constant. The package itself has what it imported
    from them when it is asked for it after the block. Modules that are already imported are left as they are.
    """
    names = {part: name for part in parts if (name := f"{package}.{part}") not in sys.modules}
    sys.modules.update({name: _StandIn(name) for name in names.values()})
    try:
        yield
    finally:
        for name in names.values():
            del sys.modules[name]
        if names and package in sys.modules:
            _take_away(sys.modules[package], names)


class DeferredValue:
    """What a module holds, without the module until it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module_and_name = module, name

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _value(*self._module_and_name)(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(_value(*self._module_and_name), name)


class _StandIn(ModuleType):
    """The module itself, for those that imported it in the block."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        is_in_block = sys.modules.get(self.__name__) is self
        return DeferredValue(self.__name__, name) if is_in_block else _value(self.__name__, name)


def _value(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _take_away(package: ModuleType, parts: dict[str, str]) -> None:
    """Let the package import the modules when it is asked for what it took from them."""
    deferred: dict[str, Sequence[str]] = {}
    for part, module in parts.items():
        taken = [
            name
            for name, value in vars(package).items()
            if type(value) is DeferredValue and value._module_and_name == (module, name)
        ]
        deferred[part] = taken
        for name in (part, *taken):
            vars(package).pop(name, None)
    vars(package)["__deferred_names__"] = deferred
    package.__class__ = PackageWithDeferredModules
