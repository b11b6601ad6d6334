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
