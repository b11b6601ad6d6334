"""A pytest plugin that runs the tests once, to see which lines each of them runs, and then, for each mutant, those that
run its lines, until one fails.

Each mutant has a process of its own, forked from the one that has collected the tests, so that nothing is imported
again. The tests that killed mutants of the same function come first: they probably kill this one too.
"""

from __future__ import annotations

import difflib
import gc
import os
import resource
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from types import CodeType
from typing import TYPE_CHECKING, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

from scripts.repository import ROOT
from tests.mutation.code_swap import LoadedFunctions

if TYPE_CHECKING:
    from coverage import Coverage

CPU_SECONDS, CPU_FACTOR = 2.0, 10.0
"""How much of the processor's time a test may take: so many seconds, and so many times what it took before."""
WALL_SECONDS = 300
"""For a test that waits for what a mutant does not do."""
MEMORY_MAX = 4 << 30
"""Bytes of a mutant's process."""
ALL_PASSED, FAILED = 0, 1


class MutantOutcome(StrEnum):
    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    NOT_RUN = "not run"
    """No test runs the line."""


class Mutant(NamedTuple):
    path: str
    line: int
    end_line: int
    source: str


class Tried(NamedTuple):
    path: str
    line: int
    function: str
    change: str
    """The lines that differ, with - and + before them."""
    outcome: MutantOutcome


class Campaign:
    """Reports what becomes of each mutant. Leaves out those that do the same as the code, but on other lines."""

    def __init__(self, mutants: Sequence[Mutant], coverage: Coverage, report: Callable[[Tried], None]) -> None:
        self._mutants = mutants
        self._coverage = coverage
        self._report = report
        self._sources = {path: (ROOT / path).read_text() for path in {mutant.path for mutant in mutants}}
        self._costs: dict[str, float] = {}
        """CPU seconds of each test."""
        self._killers: dict[str, list[str]] = defaultdict(list)
        """The tests that killed mutants of a function, the latest last; the same by file."""

    def pytest_configure(self) -> None:
        """The same examples for each mutant. What fails is not looked at, so it needs no shorter example."""
        from hypothesis import Phase, settings

        settings.register_profile("mutation", database=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError("the tests can't be collected")
        items = {item.nodeid: item for item in session.items}
        self._run_unchanged(session.items)
        loaded = {path: LoadedFunctions(path, source) for path, source in self._sources.items()}
        gc.freeze()  # or each child would copy the memory that its garbage collections look at
        if self._forked(session.items, lambda: True)[0] is not MutantOutcome.SURVIVED:
            raise pytest.UsageError("the tests fail without a mutation in the process of a mutant")
        tests = {path: self._coverage.get_data().contexts_by_lineno(str(ROOT / path)) for path in self._sources}
        for mutant in self._mutants:
            if changed := loaded[mutant.path].changed(mutant.source):
                self._report(self._tried(mutant, loaded[mutant.path], changed, items, tests[mutant.path]))
        return True

    def _run_unchanged(self, items: Sequence[pytest.Item]) -> None:
        self._coverage.start()
        for item, following in zip(items, [*items[1:], items[0]], strict=True):
            self._coverage.switch_context(item.nodeid)
            began = time.process_time()
            if not passes(item, following):
                raise pytest.UsageError(f"fails without a mutation: {item.nodeid}")
            self._costs[item.nodeid] = time.process_time() - began
        self._coverage.stop()

    def _tried(
        self,
        mutant: Mutant,
        loaded: LoadedFunctions,
        changed: dict[int, CodeType],
        items: dict[str, pytest.Item],
        tests: dict[int, list[str]],
    ) -> Tried:
        function = next(iter(changed))
        named = f"{mutant.path}:{loaded.name(function)}"
        known = {test for line in range(mutant.line, mutant.end_line + 1) for test in tests.get(line, [])}
        known = known or {test for line in loaded.lines(function) for test in tests.get(line, [])}
        chosen = [items[test] for test in self._in_order(known & items.keys(), named, mutant.path)]
        outcome, killer = MutantOutcome.NOT_RUN, None
        if chosen:
            outcome, killer = self._forked(chosen, lambda: loaded.swap(changed))
        if killer is not None:
            for key in (named, mutant.path):
                self._killers[key] = [*(one for one in self._killers[key] if one != killer), killer]
        change = changed_lines(self._sources[mutant.path], mutant.source)
        return Tried(mutant.path, mutant.line, loaded.name(function), change, outcome)

    def _in_order(self, tests: Iterable[str], function: str, path: str) -> list[str]:
        """First those that killed others, then one example of each parametrized test, short ones first."""
        ranks = {test: -index for key in (path, function) for index, test in enumerate(self._killers[key], 1)}
        met: dict[str, int] = defaultdict(int)
        by_cost = sorted(tests, key=lambda test: self._costs[test])
        examples = {}
        for test in by_cost:
            examples[test] = met[name := test.partition("[")[0]]
            met[name] += 1
        return sorted(by_cost, key=lambda test: (ranks.get(test, 0), examples[test], self._costs[test]))

    def _forked(self, items: Sequence[pytest.Item], prepare: Callable[[], bool]) -> tuple[MutantOutcome, str | None]:
        """Run tests in a process of their own. Returns the test that failed, too."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._run_in_child(items, prepare, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            begun = pipe.read().split()
        _, status = os.waitpid(child, 0)
        killer = items[int(begun[-1])].nodeid if begun else None
        if os.WIFSIGNALED(status):
            return MutantOutcome.TIMED_OUT, killer
        if os.WEXITSTATUS(status) == ALL_PASSED:
            return MutantOutcome.SURVIVED, None
        return MutantOutcome.KILLED, killer

    def _run_in_child(self, items: Sequence[pytest.Item], prepare: Callable[[], bool], writing: int) -> None:
        """Writes the number of each test before it begins, and ends the process."""
        status = FAILED
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            status = ALL_PASSED if not prepare() else FAILED  # a function that is not there can't be tested
            for index, (item, following) in enumerate(zip(items, [*items[1:], items[0]], strict=True)):
                os.write(writing, b"%d " % index)
                signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS + CPU_FACTOR * self._costs[item.nodeid])
                signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
                if not passes(item, following):
                    break
            else:
                status = ALL_PASSED
        finally:
            os._exit(status)


def passes(item: pytest.Item, following: pytest.Item) -> bool:
    """Run a test, keeping the fixtures that the following one needs as well."""
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def changed_lines(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in list(lines)[3:] if not line.startswith("@@"))
