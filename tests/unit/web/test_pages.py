"""What pages may do, and where the page at / may join rooms."""

from __future__ import annotations

import pytest

from http_api.web.dashboard import allowed, livekit_sources
from http_api.web.pages import policy

pytestmark = pytest.mark.unit


def rules(text: str) -> dict[str, str]:
    return dict(rule.split(" ", 1) for rule in text.split("; "))


def test_a_page_may_do_nothing_that_is_not_named() -> None:
    strict = rules(policy())
    assert strict["default-src"] == strict["frame-ancestors"] == strict["base-uri"] == strict["form-action"] == "'none'"
    assert strict["script-src"] == strict["style-src"] == strict["connect-src"] == "'self'"
    assert rules(policy(img_src="data:")) == strict | {"img-src": "data:"}


@pytest.mark.parametrize(
    ("public_url", "sources"),
    [
        ("ws://localhost:7880", "ws://localhost:7880 http://localhost:7880"),
        ("http://127.0.0.1:7880/", "ws://127.0.0.1:7880 http://127.0.0.1:7880"),
        ("wss://livekit.example.com/rooms", "wss://livekit.example.com https://livekit.example.com"),
        ("https://livekit.example.com:8443", "wss://livekit.example.com:8443 https://livekit.example.com:8443"),
        ("ws://[::1]:7880", "ws://[::1]:7880 http://[::1]:7880"),
        (
            "wss://acme.livekit.cloud",
            "wss://acme.livekit.cloud https://acme.livekit.cloud wss://*.livekit.cloud https://*.livekit.cloud",
        ),
    ],
)
def test_rooms_are_joined_at_the_public_url_and_nowhere_else(public_url: str, sources: str) -> None:
    assert livekit_sources(public_url) == sources
    assert rules(allowed(public_url))["connect-src"] == f"'self' {sources}"


def test_a_url_adds_no_rule_of_its_own() -> None:
    assert rules(allowed("ws://a;script-src *:1"))["connect-src"] == "'self'"
