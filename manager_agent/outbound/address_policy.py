"""Which addresses may be called when a caller supplies them. PURE.

The manager can reach hosts that a caller who supplies an endpoint can't: it runs next to LiveKit, in a private network,
on a cloud machine. To prevent server-side request forgery (CWE-918, OWASP's SSRF Prevention Cheat Sheet), it calls only
addresses in allowed networks, and addresses in NEVER not even if the allow-list is as wide as 0.0.0.0/0.

Not detected: a network-specific NAT64 prefix of the operator (RFC 6052, section 2.2), and a forwarder inside an allowed
network. Do not allow such networks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, TypeAlias

from yarl import URL

from manager_agent.comma_list import read_list

IP: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

PUBLIC: Literal["public"] = "public"
"""All addresses of the public internet, in a list of networks."""
Networks: TypeAlias = tuple[Network | Literal["public"], ...]

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PRIVATE: tuple[Network, ...] = tuple(
    ip_network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
"""RFC 1918 and RFC 4193. Without loopback: services listening there trust this machine."""

NEVER: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified (RFC 6890)"),
        ("169.254.0.0/16", "link-local, where clouds serve metadata (RFC 3927)"),
        ("100.100.100.200/32", "cloud metadata (Alibaba)"),
        ("168.63.129.16/32", "cloud metadata (Azure)"),
        ("192.0.0.0/24", "set aside for protocols (RFC 6890)"),
        ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
        ("224.0.0.0/4", "multicast (RFC 5771)"),
        ("255.255.255.255/32", "broadcast (RFC 919)"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
        ("::/128", "unspecified (RFC 4291)"),
        ("::/96", "IPv4-compatible (RFC 4291)"),
        ("::ffff:0:0:0/96", "IPv4-translated (RFC 2765)"),
        ("64:ff9b::/96", "NAT64 (RFC 6052)"),
        ("64:ff9b:1::/48", "NAT64 (RFC 8215)"),
        ("2001::/32", "Teredo (RFC 4380)"),
        ("2002::/16", "6to4 (RFC 3056)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("ff00::/8", "multicast (RFC 4291)"),
        ("fd00:ec2::/32", "cloud metadata (AWS)"),
        ("fd20:ce::254/128", "cloud metadata (Google)"),
        ("fd00:c1::a9fe:a9fe/128", "cloud metadata (Oracle)"),
        ("fd00:42::42/128", "cloud metadata (Scaleway)"),
        ("fd00:a9fe:a9fe::1/128", "cloud metadata (Akamai)"),
        ("fd00:100::100:200/128", "cloud metadata (Alibaba)"),
    )
)
"""Networks that are never called, whatever is allowed, and why. The first match counts."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
PRINTABLE_ASCII = re.compile(r"[\x21-\x7e]+")
AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
NAME_MAX = 253
LOCALHOST = frozenset({"localhost", "localhost."})
PORT_MAX = 65_535


class AddressRefused(OSError):
    """An address that must not be called. The message says why, and may be shown to the caller that supplied it.

    `public` says the same without the IP address, for a host name: what it resolves to here is our network's business.
    An OSError, like a failed connect: if a host has several addresses, the next one is tried.
    """

    def __init__(self, message: str, public: str = "") -> None:
        super().__init__(message)
        self.public = public or message


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Allows addresses in `networks`, except those in NEVER, and `own_port` on addresses for which `is_own` is true.

    `setting`: the variable that sets the networks, for messages.
    """

    networks: Networks
    own_port: int
    is_own: Callable[[IP], bool]
    setting: str = "INVITE_NETWORKS"

    def admit(self, address: str) -> URL:
        """Parse an address to call. Raises AddressRefused.

        A host that is an IP address is checked here. A host name is checked when connecting: only then are its IP
        addresses known.
        """
        url = read_url(address)
        host, port = url.raw_host, url.port
        assert host is not None, "read_url requires a host"
        assert port is not None
        if ":" in host or _ends_in_a_number(host):
            self.check(host, port)
        return url

    def doubt(self, address: str) -> str | None:
        """Why no call to an admitted address will be allowed, as far as that is known before its host name is
        resolved: `localhost` is loopback on every machine (RFC 6761)."""
        url = read_url(address)
        if url.raw_host not in LOCALHOST or url.port is None:
            return None
        try:
            self.check("127.0.0.1", url.port)
        except AddressRefused as refused:
            return f"{url.raw_host} can't be called, so every invite will be `unreachable`: {refused.public}"
        return None

    def check(self, address: str, port: int) -> None:
        """Raises AddressRefused unless this IP address may be called on this port."""
        try:
            ip = ip_address(address)
        except ValueError:
            raise AddressRefused(f"{address} is not an IP address") from None
        if isinstance(ip, IPv6Address):
            if ip.ipv4_mapped is not None:
                ip = ip.ipv4_mapped  # connections to it use IPv4 (RFC 4291, section 2.5.5.2)
            elif ip.scope_id is not None:
                raise _refused(ip, "has a zone, which is meaningful on this machine only (RFC 4007)")
        if (why := never_called(ip)) is not None:
            raise _refused(ip, f"is never called, whatever {self.setting} allows: {why}")
        if port == self.own_port and self.is_own(ip):
            raise _refused(ip, f"with port {port} is the session manager itself, whatever {self.setting} allows")
        if not any(is_public(ip) if network == PUBLIC else ip in network for network in self.networks):
            raise _refused(ip, f"is not in an allowed network ({self.setting})")


def _refused(ip: IP, why: str) -> AddressRefused:
    return AddressRefused(f"{ip} {why}", f"the address {why}")


def is_public(ip: IP) -> bool:
    """Whether this is an address of the public internet. Some special ones count too, all of which lie in NEVER."""
    return ip.is_global and (ip.version == 4 or ip in GLOBAL_UNICAST)


def never_called(ip: IP) -> str | None:
    """Why this address is never called, or None."""
    if ip.is_loopback:
        return None  # ::1 lies in the block of the IPv4-compatible addresses
    return next((why for network, why in NEVER if ip in network), None)


def read_url(text: str) -> URL:
    """Parse an http or https URL that every URL parser understands in the same way. Raises AddressRefused.

    Stricter than RFC 3986: only printable ASCII (internationalized hosts as xn--, RFC 5891), no user, no fragment, and
    IPv4 addresses only as four decimal numbers: inet_aton, and therefore many resolvers, would read 2130706433, 0x7f.1
    and 0177.0.0.1 as 127.0.0.1.
    """
    if not PRINTABLE_ASCII.fullmatch(text) or "\\" in text:
        raise AddressRefused("should contain printable ASCII characters only, without spaces and backslashes")
    scheme, _, rest = text.partition("://")
    if scheme.lower() not in ("http", "https"):
        raise AddressRefused("should be an http or https URL")
    if "#" in rest:
        raise AddressRefused("should not have a fragment")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise AddressRefused("should not have a user or password")
    parts = AUTHORITY.fullmatch(authority)
    if parts is None or int(parts["port"] or 1) > PORT_MAX:
        raise AddressRefused("should have a host, and optionally a port from 1 to 65535")
    _check_host(parts["host"])
    try:
        return URL(text)
    except ValueError:
        raise AddressRefused("is not a URL") from None


def _check_host(host: str) -> None:
    if host.startswith("["):
        if not _is(IPv6Address, host[1:-1]):
            raise AddressRefused("should have an IPv6 address between the brackets")
    elif _ends_in_a_number(host):
        if not _is(IPv4Address, host):
            raise AddressRefused("should have an IPv4 address of four decimal numbers")
    elif len(host) > NAME_MAX or not all(LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")):
        raise AddressRefused("should have a valid DNS host name")


def _ends_in_a_number(host: str) -> bool:
    """Whether the host can only be an IPv4 address: the URL Standard's "ends in a number checker"."""
    return NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]) is not None


def _is(kind: type[IP], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def read_networks(text: str) -> Networks:
    """Parse networks separated by commas, as in `10.0.0.0/8, fd12::/16, public`; a single address is a network of one.

    Raises ValueError, with the entry's number, for an entry that is not a network, has bits set after its prefix, or
    lies in NEVER.
    """
    return read_list(text, _network)


def _network(entry: str) -> Network | Literal["public"]:
    if entry.lower() == PUBLIC:
        return PUBLIC
    try:
        network = ip_network(entry)
    except ValueError:
        raise ValueError("is not `public` or a network such as 10.0.0.0/8, with zeros after the prefix") from None
    if isinstance(network, IPv6Network):
        if network.network_address.scope_id is not None:
            raise ValueError("has a zone")
        if network.subnet_of(IPV4_MAPPED):
            raise ValueError("is an IPv4-mapped network: write it as an IPv4 network")
    for never, why in NEVER:
        if _within(network, never) and not network.is_loopback:
            raise ValueError(f"is never called: {why}")
    return network


def _within(network: Network, outer: Network) -> bool:
    return network.network_address in outer and network.prefixlen >= outer.prefixlen
