"""Import packages without some of the modules that their `__init__` imports, until those are asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

Names = Mapping[str, Sequence[str]]
"""What a package takes from modules of its own, by the name of the module within the package."""


def defer_modules(package: str, names: Names) -> None:
    """When this package is imported, don't import these modules, from which it takes only names that it does not use.

    They are imported when the package is asked for one of the names, or when they are imported themselves. A package
    that is already imported is left as it is.
    """
    if package not in sys.modules:
        sys.meta_path.insert(0, _PackageFinder(package, names))


class PackageWithDeferredModules(ModuleType):
    """A package that imports some of its modules when it is asked for what they hold."""

    __deferred_names__: Names

    def __getattr__(self, name: str) -> Any:
        for part, names in self.__deferred_names__.items():
            if name == part or name in names:
                module = import_module(f"{self.__name__}.{part}")  # which makes it a name of the package
                vars(self).update((each, getattr(module, each)) for each in names)
                return vars(self)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_all_names(self.__deferred_names__)})


def _all_names(names: Names) -> set[str]:
    return {*names, *(each for some in names.values() for each in some)}


class _PackageFinder(MetaPathFinder):
    """Finds the package, once."""

    def __init__(self, package: str, names: Names) -> None:
        self._package, self._names = package, names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == self._package else None
        if spec is not None and spec.loader is not None:
            sys.meta_path.remove(self)
            spec.loader = _PackageLoader(spec.loader, self._names)
        return spec


class _PackageLoader(Loader):
    """Runs the `__init__` of the package with stand-ins for the modules, and takes them away again."""

    def __init__(self, loader: Loader, names: Names) -> None:
        self._loader, self._names = loader, names

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        finder = _StandInFinder({f"{module.__name__}.{part}": names for part, names in self._names.items()})
        sys.meta_path.insert(0, finder)
        try:
            self._loader.exec_module(module)
        finally:
            sys.meta_path.remove(finder)
            for name in finder.names:
                sys.modules.pop(name, None)
        for name in _all_names(self._names):
            vars(module).pop(name, None)
        vars(module)["__deferred_names__"] = self._names
        module.__class__ = PackageWithDeferredModules


class _StandInFinder(MetaPathFinder):
    def __init__(self, names: Names) -> None:
        self.names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, _StandInLoader(self.names[name])) if name in self.names else None


class _StandInLoader(Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with what is imported from it."""
        vars(module).update(dict.fromkeys(self._names))
