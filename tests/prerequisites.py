"""Tests that need a program that not every machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.prerequisites import PrerequisiteMissing, are_required


@contextmanager
def prerequisite() -> Iterator[None]:
    """Skip the test if what the block looks for, or installs, is missing; in CI the test fails."""
    try:
        yield
    except PrerequisiteMissing as missing:
        if are_required():
            raise
        pytest.skip(str(missing))
