"""The content security policy of pages, and where the page at / may join rooms."""

from __future__ import annotations

import pytest

from http_api.web.dashboard import allowed, livekit_sources
from http_api.web.pages import policy

pytestmark = pytest.mark.unit


def rules(text: str) -> dict[str, str]:
    return dict(rule.split(" ", 1) for rule in text.split("; "))


def test_the_content_security_policy_forbids_what_it_does_not_name() -> None:
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
def test_the_page_may_connect_to_the_public_livekit_url_only(public_url: str, sources: str) -> None:
    assert livekit_sources(public_url) == sources
    assert rules(allowed(public_url))["connect-src"] == f"'self' {sources}"


def test_a_livekit_url_can_not_inject_a_policy_rule() -> None:
    assert rules(allowed("ws://a;script-src *:1"))["connect-src"] == "'self'"
