"""Whose address counts behind reverse proxies."""

from __future__ import annotations

import pytest

from http_api.protocol.forwarded import HOPS_MAX, client_of, read_proxies

pytestmark = pytest.mark.unit

TRUSTED = read_proxies("10.0.0.0/8, 127.0.0.1, fd00::/8")
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("listed", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("nonsense, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7, nonsense", PROXY),
        ("203.0.113.7,", PROXY),
        ("203.0.113.999", PROXY),
        ("", PROXY),
        (", ".join(["203.0.113.7", *["10.0.0.2"] * HOPS_MAX]), "10.0.0.2"),
    ],
)
def test_rightmost_address_that_is_no_proxy_is_the_client(listed: str, client: str) -> None:
    assert client_of(PROXY, [], [listed], TRUSTED) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ('For="203.0.113.7:4711";proto=https;by=10.0.0.1', "203.0.113.7"),
        ('for="[2001:db8::7]:4711"', "2001:db8::7"),
        ('proto=https ; for="[2001:db8::7]"', "2001:db8::7"),
        ("for=198.51.100.1, for=203.0.113.7, for=10.0.0.2", "203.0.113.7"),
        ('for="_a, b", for=203.0.113.7', "203.0.113.7"),
        ("for=203.0.113.7, for=_hidden", PROXY),
        ("for=203.0.113.7, for=unknown, for=10.0.0.2", "10.0.0.2"),
        ('for="198.51.100.1, for=203.0.113.7', PROXY),
        ("for=203.0.113.7;for=198.51.100.1", PROXY),
        ("for 203.0.113.7", PROXY),
        ("proto=https", PROXY),
        ("", PROXY),
        ("for=" + "a" * 30_000, PROXY),
        (";" * 30_000, PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(forwarded: str, client: str) -> None:
    assert client_of(PROXY, [forwarded], [], TRUSTED) == client


def test_headers_of_one_name_are_one_list() -> None:
    assert client_of(PROXY, [], ["198.51.100.1", "203.0.113.7"], TRUSTED) == "203.0.113.7"
    assert client_of(PROXY, ["for=198.51.100.1", "for=203.0.113.7"], [], TRUSTED) == "203.0.113.7"


def test_nothing_is_believed_from_others_than_trusted_proxies() -> None:
    assert client_of("203.0.113.9", ["for=198.51.100.1"], ["198.51.100.1"], TRUSTED) == "203.0.113.9"
    assert client_of(PROXY, ["for=198.51.100.1"], ["198.51.100.1"], ()) == PROXY
    assert client_of(None, [], ["198.51.100.1"], TRUSTED) == ""


def test_two_headers_that_disagree_say_nothing() -> None:
    """A proxy that writes one of them passes on the other as the client sent it."""
    assert client_of(PROXY, ["for=198.51.100.1"], ["203.0.113.7"], TRUSTED) == PROXY
    assert client_of(PROXY, ["for=203.0.113.7"], ["203.0.113.7"], TRUSTED) == "203.0.113.7"


def test_ipv4_proxy_is_trusted_on_a_socket_of_ipv6() -> None:
    assert client_of("::ffff:10.0.0.1", [], ["203.0.113.7"], TRUSTED) == "203.0.113.7"


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "proxy", "10.0.0.1/8", "10.0.0.0/8,,", ""])
def test_bad_list_of_proxies_is_refused_with_the_number_of_the_entry(text: str) -> None:
    with pytest.raises(ValueError, match=r"^entry \d "):
        read_proxies(text)
