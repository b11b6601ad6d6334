"""The doctor's checks of a server's clock, of the STUN servers it names, and of its own address."""

from __future__ import annotations

import pytest

from http_api.doctor.network import host_of, is_literal, skew_of, stun
from http_api.doctor.serving import own_url
from http_api.settings.settings import Settings
from tests.tenants import production

pytestmark = pytest.mark.unit


def test_clock_skew_is_how_far_the_other_clock_is_ahead() -> None:
    at_100 = {"Date": "Thu, 01 Jan 1970 00:01:40 GMT"}
    assert skew_of(at_100, 90) == 10
    assert skew_of(at_100, 111) == -10
    assert {skew_of(at_100, now) for now in (100.0, 100.5, 100.999)} == {0}
    assert skew_of({}, 90) is None
    assert skew_of({"Date": "noon"}, 90) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("stun:stun.example.com:3478", "stun.example.com"),
        ("stun:127.0.0.1:3478", "127.0.0.1"),
        ("stun:[::1]:3478", "::1"),
        ("turns:turn.example.com:443?transport=tcp", "turn.example.com"),
        ("turn:turn.example.com", "turn.example.com"),
    ],
)
def test_the_host_of_an_ice_server_url_is_found(url: str, host: str) -> None:
    assert host_of(url) == host
    assert is_literal(host) == (host in ("127.0.0.1", "::1"))


async def test_a_stun_server_that_does_not_resolve_is_a_warning() -> None:
    """`.invalid` is reserved: no resolver finds it."""
    found = await stun(["stun:stun.invalid:3478", "stun:127.0.0.1:3478"])
    assert (found.verdict, "stun.invalid" in found.says, "127.0.0.1" in found.says) == ("warning", True, False)
    assert "stun_servers" in found.mend


@pytest.mark.parametrize("urls", [[], ["stun:127.0.0.1:3478"], ["stun:localhost:3478"]])
async def test_stun_servers_that_resolve_are_fine(urls: list[str]) -> None:
    assert (await stun(urls)).verdict == "ok"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("manager.example.com", "http://manager.example.com:8080"),
    ],
)
def test_the_doctor_calls_its_own_server_at_an_address_that_can_be_dialed(host: str, url: str) -> None:
    assert str(own_url(Settings(_env_file=None, **production(server_host=host, server_port=8080)))) == url
