"""Import modules without what they would load besides: the `__init__` of their packages, or optional packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


@contextmanager
def deferred_packages(*names: str) -> Iterator[None]:
    """Within the block, modules of these packages are imported without running the `__init__` of the package.

    It runs later, if anything else of the package is asked for: a name or a module that was not imported in the block.
    A package that is already imported is left as it is. Other threads may import other packages meanwhile.
    """
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    deferred: list[ModuleType] = []
    FINDER.deferring |= dict.fromkeys(names, deferred)
    try:
        yield
    finally:
        for name in names:
            FINDER.deferring.pop(name, None)
        for package in deferred:
            package.__class__ = DeferredPackage


@contextmanager
def absent_packages(*names: str) -> Iterator[None]:
    """Within the block, importing these packages raises ImportError, as if they were not installed. For modules that
    take a package into use if it is there. A package that is already imported is left as it is."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None stands for a module that is missing
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


class DeferredPackage(ModuleType):
    """A package that runs its `__init__` when it is asked for what it lacks."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what tools look for in any module
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        run(self)
        return getattr(self, name)


def run(package: DeferredPackage) -> None:
    """Run the `__init__` of the package."""
    spec = package.__spec__
    assert spec is not None
    assert spec.loader is not None
    package.__class__ = ModuleType  # type: ignore[assignment]
    spec.loader.exec_module(package)


class _DeferringLoader(Loader):
    def __init__(self, loader: Loader, deferred: list[ModuleType]) -> None:
        self._loader, self._deferred = loader, deferred

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty. Its own loader fills it later."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._deferred.append(module)


class _Finder(MetaPathFinder):
    """Finds the packages of a block. Later it runs the `__init__` of such a package before another module of it is
    imported, as Python does.

    It is never removed: a thread that asks all finders at that moment would skip the one after it.
    """

    def __init__(self) -> None:
        self.deferring: dict[str, list[ModuleType]] = {}
        """Where to put the packages of the current blocks when they are found, by their names."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if (deferred := self.deferring.get(name)) is not None:
            return _deferred_spec(PathFinder.find_spec(name, path, target), deferred)
        package = sys.modules.get(name.rpartition(".")[0])
        if not isinstance(package, DeferredPackage):
            return None
        run(package)
        module = sys.modules.get(name)  # the package may have imported it too
        if module is None or module.__spec__ is None:
            return None
        return ModuleSpec(name, _LoadedAlready(module, module.__spec__))


def _deferred_spec(spec: ModuleSpec | None, deferred: list[ModuleType]) -> ModuleSpec | None:
    if spec is not None and spec.loader is not None:
        spec.loader = _DeferringLoader(spec.loader, deferred)
    return spec


class _LoadedAlready(Loader):
    def __init__(self, module: ModuleType, spec: ModuleSpec) -> None:
        self._module, self._spec = module, spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


FINDER = _Finder()
