"""The state diagram in docs/design.md is that of the code."""

from __future__ import annotations

import pytest

from manager_agent.session.session import EndReason, SessionState
from scripts.state_diagram import DOCUMENT, arrows, diagram, document

pytestmark = pytest.mark.unit


def test_documented_state_diagram_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text) == text, "run `python -m scripts.state_diagram`"


def test_state_diagram_reaches_every_state_and_every_reason_of_an_end() -> None:
    found = arrows()
    assert {after for _, after in found} == set(SessionState)
    reasons = {label for (_, after), labels in found.items() for label in labels if after in ("ended", "failed")}
    assert reasons == set(EndReason)


def test_state_diagram_draws_each_arrow_once() -> None:
    lines = [line.strip() for line in diagram().splitlines() if "-->" in line]
    assert len(lines) == len({line.partition(":")[0] for line in lines})


def test_a_document_without_a_place_for_the_diagram_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place"):
        document("# Design\n")
