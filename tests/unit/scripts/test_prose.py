"""The check of the project's English."""

from __future__ import annotations

import pytest

from scripts.prose import findings_in

pytestmark = pytest.mark.unit

MODULE = '''"""Tells whoever asks."""

NAME = "nobody"
MESSAGE = "nobody is there"  # for ever
'''


def test_prose_check_reads_docstrings_comments_and_messages_of_product_code() -> None:
    found = [(finding.line, finding.word) for finding in findings_in("http_api/module.py", MODULE)]
    assert sorted(found) == [(1, "whoever"), (4, "for ever"), (4, "nobody")]


def test_prose_check_ignores_strings_in_tests() -> None:
    found = [(finding.line, finding.word) for finding in findings_in("tests/unit/test_module.py", MODULE)]
    assert found == [(1, "whoever"), (4, "for ever")]


def test_prose_check_ignores_code_in_markdown() -> None:
    text = "Ask `nobody`:\n\n```sh\necho nobody\n```\n\nHe heeds it."
    assert [(finding.line, finding.word) for finding in findings_in("docs/page.md", text)] == [(7, "He"), (7, "heeds")]


def test_prose_check_matches_whole_words_only() -> None:
    assert findings_in("docs/page.md", "The cache hit; the-nobody-header; this behavior.") == []


def test_a_prose_finding_says_what_to_write_instead() -> None:
    [finding] = findings_in("docs/page.md", "One that is kept for ever.")
    assert (finding.path, finding.instead) == ("docs/page.md", "permanently, forever")
