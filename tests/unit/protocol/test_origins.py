"""CORS_ORIGINS: origins as browsers write them, and nothing else."""

from __future__ import annotations

import pytest

from http_api.protocol.origins import read_origins

pytestmark = pytest.mark.unit


def test_an_origin_is_scheme_host_and_a_port_that_is_not_the_default() -> None:
    origins = ("https://page.test", "http://localhost:3000", "http://[::1]:3000", "https://xn--bcher-kva.example")
    assert read_origins(" , ".join(origins)) == origins


@pytest.mark.parametrize(
    "origin",
    ["", "*", "null", "page.test", "https://", "https://page.test/", "https://page.test/page",
     "HTTPS://page.test", "https://Page.test", "https://page.test:443", "http://localhost:80",
     "https://*.example.com", "https://user@page.test", "https://page.test?", "https://bücher.example",
     "https://page test", "ws://page.test", "file://", "http://localhost:99999"],
)  # fmt: skip
def test_an_invalid_origin_is_named_by_its_position(origin: str) -> None:
    with pytest.raises(ValueError, match=r"^entry 2 ") as raised:
        read_origins(f"http://localhost:3000,{origin}")
    assert len(origin) < 9 or origin not in str(raised.value)


@pytest.mark.parametrize(
    "origin",
    ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://obsidian.md",
     "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "moz-extension://6a1b2c3d-0000-4000-8000-1234567890ab",
     "safari-web-extension://6A1B2C3D-0000-4000-8000-1234567890AB"],
)  # fmt: skip
def test_apps_and_extensions_have_origins(origin: str) -> None:
    assert read_origins(origin) == (origin,)


@pytest.mark.parametrize("text", ["capacitor://", "capacitor:localhost", "://localhost", "capacitor://a/b", "data://a"])
def test_other_uris_of_apps_are_no_origins(text: str) -> None:
    with pytest.raises(ValueError, match=r"^entry 1 "):
        read_origins(text)
