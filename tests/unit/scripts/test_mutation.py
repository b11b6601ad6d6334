"""What measures the tests: mutants that are run in place of the code, and the list of the PURE modules."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.pure_coverage import pure_files
from scripts.repository import ROOT
from tests.mutation.accepted import FILE
from tests.mutation.code_swap import LoadedFunctions
from tests.mutation.parts import PARTS

pytestmark = pytest.mark.unit

CODE = """
class Sum:
    def __init__(self, first, second):
        self.first, self.second = first, second

    @property
    def value(self):
        return self.first + self.second


def unused():
    return 1
"""
TESTS = """
import code_under_test
import pytest

@pytest.mark.parametrize("number", range(3))
def test_sum(number):
    assert code_under_test.Sum(number, number).value == 2 * number
"""
RUN = """
import json, sys
import pytest
from tests.mutation.campaign import Campaign, Mutant

folder, code, *mutated = sys.argv[1:]
sys.path.insert(0, folder)

class Coverage:
    def start(self): pass
    def stop(self): pass
    def switch_context(self, name): names.append(name)
    def get_data(self): return self
    def contexts_by_lineno(self, path): return {line: names for line in range(1, 9)}

names = []
tried = []
mutants = [Mutant(code, line, line, text) for line, text in ((8, mutated[0]), (8, mutated[1]), (12, mutated[2]))]
campaign = Campaign(mutants, Coverage(), tried.append)
options = ["-q", "-n", "0", "-c", "pyproject.toml", "--capture", "sys", f"{folder}/test_code.py"]
status = pytest.main(options, plugins=[campaign])
print(json.dumps([status, *([one.function, one.change, one.outcome] for one in tried)]))
"""


def test_a_mutant_is_killed_by_the_test_that_fails_and_else_survives(tmp_path: Path) -> None:
    (code := tmp_path / "code_under_test.py").write_text(CODE)
    (tmp_path / "test_code.py").write_text(TESTS)
    changes = (("first + self.second", "first - self.second"), ("self.first + self.second", "self.second + self.first"))
    mutants = [CODE.replace(*change) for change in (*changes, ("return 1", "return 2"))]
    command = [sys.executable, "-c", RUN, str(tmp_path), str(code), *mutants]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        0,
        ["Sum.value", "- return self.first + self.second\n+ return self.first - self.second", "killed"],
        ["Sum.value", "- return self.first + self.second\n+ return self.second + self.first", "survived"],
        ["unused", "- return 1\n+ return 2", "not run"],
    ]


def test_a_mutant_that_compiles_to_the_same_code_is_none() -> None:
    loaded = LoadedFunctions("code_under_test.py", CODE)
    assert not loaded.changed(
        CODE.replace("self.first + self.second", "(\n            self.first + self.second\n        )")
    )
    (number,) = loaded.changed(CODE.replace("return 1", "return True"))
    assert (loaded.name(number), 12 in loaded.lines(number)) == ("unused", True)


def test_accepted_mutants_change_lines_that_are_there() -> None:
    for mutant in tomllib.loads(FILE.read_text()).get("mutant", []):
        assert mutant.keys() == {"path", "function", "change", "reason"}
        lines = {line.strip() for line in (ROOT / mutant["path"]).read_text().splitlines()}
        removed = [line[2:] for line in mutant["change"].splitlines() if line.startswith("- ")]
        assert removed
        assert lines.issuperset(removed), mutant


def test_every_part_has_code_and_tests() -> None:
    for part in PARTS.values():
        assert list(part.files())
        assert all((ROOT / name).exists() for name in (*part.files(), *part.tests))
    assert list(PARTS["session"].files("plan")) == ["manager_agent/session/plan.py"]


def test_the_pure_modules_are_those_of_the_import_contract() -> None:
    files = {str(path.relative_to(ROOT)) for path in pure_files()}
    assert {"manager_agent/session/plan.py", "http_api/limits/gcra.py"} <= files
    assert "manager_agent/clock.py" not in files
    assert all((ROOT / name).exists() for name in files)
