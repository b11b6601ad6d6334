"""What the client's own distribution says of itself."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit


def project(path: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return found


def test_the_client_alone_needs_the_versions_that_the_project_is_tested_with() -> None:
    client, session_manager = project("session_manager_client/pyproject.toml"), project("pyproject.toml")
    assert len(client["dependencies"]) == 2
    assert set(client["dependencies"]) <= set(session_manager["dependencies"])
