"""A LiveKit URL has one form, whichever way it is written."""

from __future__ import annotations

import pytest

from manager_agent.livekit_url import http_url, read_livekit_url

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ws://localhost:7880", "ws://localhost:7880"),
        ("ws://localhost:7880/", "ws://localhost:7880"),
        ("wss://host/livekit/", "wss://host/livekit"),
        ("wss://host/livekit//", "wss://host/livekit"),
        ("https://host/a/b", "wss://host/a/b"),
        ("HTTP://[::1]:7880/", "ws://[::1]:7880"),
        ("wss://acme.livekit.cloud", "wss://acme.livekit.cloud"),
    ],
)
def test_a_livekit_url_is_read_as_a_socket_url_without_a_slash_at_the_end(written: str, read: str) -> None:
    assert read_livekit_url(written) == read
    assert read_livekit_url(read) == read


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("host:7880", "a host"),
        ("ftp://host", "a host"),
        ("ws://", "URL"),
        ("wss://host/?a=b", "query"),
        ("wss://host?", "query"),
        ("wss://host/#x", "fragment"),
        ("wss://user:s3cret@host", "no user or password"),
        ("ws://[::1", "URL"),
        ("wss:// host", "spaces"),
        ("wss://host/a b", "spaces"),
        ("wss://host\n/a", "control characters"),
    ],
)
def test_a_url_that_livekit_could_not_use_is_refused_without_being_shown(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        read_livekit_url(written)
    assert "s3cret" not in str(refused.value)


def test_the_http_url_of_a_server_has_the_same_host_and_path() -> None:
    assert http_url("ws://localhost:7880") == "http://localhost:7880"
    assert http_url("wss://host/livekit") == "https://host/livekit"
