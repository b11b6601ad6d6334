"""The software bill of materials, made by the real generator."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from http_api import VERSION
from scripts import tools
from scripts.lock_file import LOCK, read_lock, shipped
from scripts.sbom import bill_of_materials
from tests.prerequisites import prerequisite

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300)]


VALIDATOR = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()))
"""
"""Run by the generator's Python: prints what is wrong, or None."""


@pytest.fixture(scope="module", autouse=True)
def generator() -> None:
    with prerequisite():
        tools.ensure()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return bill_of_materials()


def test_it_lists_what_is_shipped_with_versions_and_hashes(document: dict[str, Any]) -> None:
    assert document["bomFormat"] == "CycloneDX"
    component = document["metadata"]["component"]
    assert (component["name"], component["version"]) == ("livekit-session-manager", VERSION)
    listed = {component["name"]: component["version"] for component in document["components"]}
    assert listed == {package.name: package.version for package in shipped(read_lock(LOCK.read_text()))}
    assert all(component["externalReferences"][0]["hashes"] for component in document["components"])


def test_it_says_what_needs_what(document: dict[str, Any]) -> None:
    names = {component["bom-ref"]: component["name"] for component in document["components"]}
    names[document["metadata"]["component"]["bom-ref"]] = "livekit-session-manager"
    needs = {names[one["ref"]]: {names[ref] for ref in one["dependsOn"]} for one in document["dependencies"]}
    assert needs.keys() == set(names.values())
    assert {"aiohttp", "livekit-agents"} <= needs["livekit-session-manager"]
    assert "multidict" in needs["aiohttp"]
    assert set().union(*needs.values()) == needs.keys() - {"livekit-session-manager"}


def test_it_is_the_same_for_the_same_lock(document: dict[str, Any]) -> None:
    assert bill_of_materials() == document


def test_it_is_valid_cyclonedx(document: dict[str, Any]) -> None:
    python = tools.program("python")
    done = subprocess.run([python, "-c", VALIDATOR], input=json.dumps(document), text=True, capture_output=True)
    assert (done.stdout, done.returncode) == ("None\n", 0), done.stderr
