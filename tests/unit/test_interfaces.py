"""Which addresses of this machine WebRTC can use."""

from __future__ import annotations

from socket import AddressFamily
from types import SimpleNamespace as Values

import psutil
import pytest

from manager_agent.interfaces import has_interface

pytestmark = pytest.mark.unit

V4, V6, LINK = AddressFamily.AF_INET, AddressFamily.AF_INET6, psutil.AF_LINK
LOOPBACK = {"lo": [(V4, "127.0.0.1"), (V6, "::1"), (LINK, "00:00:00:00:00:00")]}


@pytest.mark.parametrize(
    ("addresses", "down", "found"),
    [
        (LOOPBACK, set(), False),
        ({}, set(), False),
        (LOOPBACK | {"eth0": [(V4, "10.0.0.7")]}, set(), True),
        (LOOPBACK | {"eth0": [(V4, "10.0.0.7")]}, {"eth0"}, False),
        (LOOPBACK | {"eth0": [(LINK, "7a:17:55:86:c0:8c"), (V6, "fe80::7817:55ff:fe86:c08c%eth0")]}, set(), False),
        (LOOPBACK | {"eth0": [(V6, "2001:db8::7")]}, set(), True),
        (LOOPBACK | {"eth0": [(V4, "169.254.7.1")]}, set(), True),
    ],
)
def test_an_interface_counts_if_it_is_up_and_webrtc_takes_its_address(
    addresses: dict[str, list[tuple[int, str]]], down: set[str], found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_machine = {name: [Values(family=f, address=a) for f, a in has] for name, has in addresses.items()}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: of_machine)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {name: Values(isup=name not in down) for name in addresses})
    assert has_interface() is found


def test_an_interface_that_vanishes_meanwhile_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": [Values(family=V4, address="10.0.0.7")]})
    monkeypatch.setattr(psutil, "net_if_stats", dict)
    assert has_interface() is False


@pytest.mark.parametrize("refused", ["net_if_addrs", "net_if_stats"])
def test_no_interface_is_missed_where_they_may_not_be_listed(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(psutil, refused, refuse)
    assert has_interface() is True
