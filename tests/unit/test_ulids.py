"""ULIDs: their form, their order, and that none is made twice."""

from __future__ import annotations

import re

import pytest

from manager_agent.ulids import ALPHABET, new_ulid, text_of

pytestmark = pytest.mark.unit


def test_ulids_are_written_as_the_specification_says() -> None:
    """The instant and the randomness of the example in the specification."""
    assert text_of(bytes.fromhex("01563E3AB5D3D6764C61EFB99302BD5B")) == "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert (text_of(bytes(16)), text_of(b"\xff" * 16)) == ("0" * 26, "7" + "Z" * 25)


def test_ulids_sort_by_the_millisecond_of_their_creation() -> None:
    made = [new_ulid(1_766_400_000.0 + n / 1000) for n in range(100)]
    assert made == sorted(made)
    assert new_ulid(1_469_918_176.385)[:10] == "01ARYZ6S41"


def test_ulids_differ_and_have_26_characters_of_the_alphabet() -> None:
    made = {new_ulid(0.0) for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(f"[{ALPHABET}]{{26}}", one) for one in made)
