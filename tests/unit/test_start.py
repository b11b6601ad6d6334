"""What a process has not done by the time it has imported the server: it would delay every start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit

SCRIPT = """
import json, sys
import http_api.__main__
from pydantic import BaseModel
from pydantic.plugin import _loader

def all_below(kind):
    for one in kind.__subclasses__():
        yield one
        yield from all_below(one)

models = [kind for kind in all_below(BaseModel) if kind.__module__.partition(".")[0] in ("http_api", "manager_agent")]
print(json.dumps({
    "models": len(models),
    "built": sorted({kind.__name__ for kind in models if kind.__pydantic_complete__ and "[" not in kind.__name__}),
    "read": sorted({kind.__name__ for kind in models if kind.model_config.get("use_attribute_docstrings")}),
    "plugins": _loader._plugins,
    "modules": sorted(sys.modules),
}))
"""
NOT_LOADED = {"yaml": "SERVICES_FILE is not set"}


@pytest.fixture(scope="module")
def started() -> dict[str, Any]:
    """What a new process has after the imports."""
    # Without what http_api has set in this process.
    own = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_models_are_built_at_their_first_use(started: dict[str, Any]) -> None:
    assert started["models"] > 50, "all of them were looked at"
    assert started["built"] == []


def test_the_source_of_models_is_read_for_the_openapi_document_alone(started: dict[str, Any]) -> None:
    assert started["read"] == []


def test_pydantic_looks_for_no_plugins(started: dict[str, Any]) -> None:
    assert started["plugins"] is None


def test_no_part_of_the_libraries_is_loaded_that_only_some_settings_need(started: dict[str, Any]) -> None:
    assert NOT_LOADED.keys() & set(started["modules"]) == set()
