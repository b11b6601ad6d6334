"""Which requests come from this machine's own programs and pages."""

from __future__ import annotations

import pytest

from http_api.protocol.local_callers import AllowedOrigins, is_foreign_page, names_loopback

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LocalHost:8080", "localhost.", "127.0.0.1:8080", "127.8.9.10", "[::1]:8080",
     "[0:0:0:0:0:0:0:1]", "127.0.0.1."],
)  # fmt: skip
def test_loopback_host_is_served(host: str) -> None:
    assert names_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "127.1",
     "2130706433", "0x7f.0.0.1", "0177.0.0.1", "0.0.0.0", "192.168.1.5:8080", "[::]", "[::ffff:127.0.0.1]", "::1",
     "localhost..", "", " localhost", "localhost:", "localhost:x", "[::1", "localhost,evil.example", "\uff4cocalhost"],
)  # fmt: skip
def test_other_host_is_not_loopback(host: str) -> None:
    assert not names_loopback(host)


@pytest.mark.parametrize(
    ("origin", "site", "foreign"),
    [
        (None, None, False),
        (None, "same-origin", False),
        (None, "none", False),
        ("http://localhost:8080", None, False),
        ("http://localhost:8080", "same-origin", False),
        ("http://localhost:5173", "same-site", False),
        (None, "cross-site", True),
        (None, "same-site", True),
        (None, "Cross-Site", True),
        ("null", None, True),
        ("http://localhost:3000", "same-site", True),
        ("https://localhost:8080", None, True),
        ("http://evil.example", "cross-site", True),
        ("http://evil.example", "same-origin", True),
        ("", None, True),
    ],
)
def test_page_of_another_origin_is_foreign(origin: str | None, site: str | None, foreign: bool) -> None:
    assert is_foreign_page("localhost:8080", origin, site, ["http://localhost:5173"]) is foreign


@pytest.mark.parametrize(
    ("origin", "listed", "of_this_machine"),
    [
        ("https://app.example.com", True, True),
        ("http://localhost:5173", False, True),
        ("https://127.0.0.1", False, True),
        ("http://[::1]:3000", False, True),
        ("null", False, False),
        ("", False, False),
        ("localhost", False, False),
        ("ftp://localhost", False, False),
        ("http://localhost.evil.example", False, False),
        ("http://localhost@evil.example", False, False),
        ("http://localhost/evil.example", False, False),
    ],
)
def test_origins_are_allowed_if_they_are_listed_or_of_this_machine(
    origin: str, listed: bool, of_this_machine: bool
) -> None:
    names = frozenset({"https://app.example.com"})
    assert (origin in AllowedOrigins(names)) == listed
    assert (origin in AllowedOrigins(names, of_this_machine=True)) == of_this_machine
