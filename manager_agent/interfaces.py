"""Whether this machine has a network interface over which WebRTC can connect."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from socket import AddressFamily

import psutil
import structlog

log = structlog.get_logger()

NO_INTERFACE = "only loopback is up, and WebRTC connects over any other interface alone: no participant can join a room"
WAY_OUT = (
    "connect to a network, or add an interface with an address: ip link add dummy0 type dummy && "
    "ip addr add 192.0.2.1/24 dev dummy0 && ip link set dummy0 up"
)
HELP = f"{NO_INTERFACE}. Way out: {WAY_OUT}"
INTERNET = (AddressFamily.AF_INET, AddressFamily.AF_INET6)


def has_interface() -> bool:
    """Whether an interface besides loopback is up with an address that WebRTC gathers as a candidate: any but IPv6's
    link-local ones. True too if the interfaces may not be listed here, as in some sandboxes: nothing depends on the
    answer but advice. A service or user on another machine is not looked at."""
    try:
        states, addresses_of = psutil.net_if_stats(), psutil.net_if_addrs()
    except OSError:
        return True
    return any(
        (state := states.get(name)) is not None and state.isup and any(_is_candidate(one) for one in addresses)
        for name, addresses in addresses_of.items()
    )


def warn_without_interface() -> None:
    if not has_interface():
        log.warning("no_network_interface", why=NO_INTERFACE, hint=WAY_OUT)


def _is_candidate(address: psutil._ntuples.snicaddr) -> bool:
    if address.family not in INTERNET:
        return False
    ip = ip_address(address.address.partition("%")[0])
    return not ip.is_loopback and not (isinstance(ip, IPv6Address) and ip.is_link_local)
