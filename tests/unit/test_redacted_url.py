"""What is left of a URL when it is logged."""

from __future__ import annotations

import pytest

from manager_agent.redacted_url import redacted_url

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://asr.example/invite", "http://asr.example/invite"),
        ("http://asr.example:8443/invite?key=hidden", "http://asr.example:8443/invite"),
        ("https://me:hidden@[fd12::1]/#hidden", "https://[fd12::1]/"),
        ("hidden", ""),
        ("http://[hidden", ""),
    ],
)
def test_a_redacted_url_shows_nothing_that_may_be_secret(url: str, what: str) -> None:
    assert redacted_url(url) == what
