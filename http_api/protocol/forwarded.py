"""The client's address behind reverse proxies: `Forwarded` (RFC 7239) and `X-Forwarded-For`. PURE.

Only what trusted proxies appended is believed: hops are read from the right, and the first address that is not a
trusted proxy's is the client. Everything left of it may be forged. A header that can't be read, or two headers that
disagree, say nothing: proxies pass on the one that they do not write themselves as the client sent it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from manager_agent.comma_list import read_list

FORWARDED, X_FORWARDED_FOR = "Forwarded", "X-Forwarded-For"
HOPS_MAX = 16
"""The most hops read. A longer way through trusted proxies is not believed."""

Address = IPv4Address | IPv6Address
Proxies = tuple[IPv4Network | IPv6Network, ...]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_PAIR = rf'{_TOKEN}=(?:{_TOKEN}|"(?:[^"\\]|\\.)*+")'
_ELEMENT = re.compile(rf"[ \t]*+((?:{_PAIR})?+(?:[ \t]*+;[ \t]*+(?:{_PAIR})?+)*+)[ \t]*+(?:,|\Z)")
_FOR = re.compile(rf'(?:^|;)[ \t]*+for=(?:({_TOKEN})|"((?:[^"\\]|\\.)*+)")', re.IGNORECASE)
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)|([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*))(?::[0-9]{1,5})?")
# The third form, IPv6 without brackets, is common in X-Forwarded-For. It can have no port.


def read_proxies(text: str) -> Proxies:
    """Parse the networks of trusted proxies, separated by commas. Raises ValueError with the number of the invalid
    entry."""
    return read_list(text, _proxies)


def client_of(peer: str | None, forwarded: Sequence[str], x_forwarded_for: Sequence[str], trusted: Proxies) -> str:
    """The address of the client. `peer`: the other end of the connection. The sequences have the values of all headers
    of that name, in order."""
    if not trusted:
        return peer or ""
    connected = _address(peer or "")
    if connected is None or not _is_trusted(connected, trusted):
        return peer or ""
    headers = ((forwarded, _forwarded_hops), (x_forwarded_for, _listed_hops))
    found = {_client(hops(",".join(values)), trusted) for values, hops in headers if values}
    client = found.pop() if len(found) == 1 else None
    return str(client or connected)


def _client(hops: Iterator[str] | None, trusted: Proxies) -> Address | None:
    """The rightmost hop that is not a trusted proxy, or the last trusted one before a hop without an address. None when
    the header can't be believed."""
    last: Address | None = None
    for number, hop in enumerate(hops or ()):
        address = _address(hop)
        if address is None or number == HOPS_MAX:
            return last
        if not _is_trusted(address, trusted):
            return address
        last = address
    return last


def _listed_hops(text: str) -> Iterator[str]:
    rest: str | None = text
    while rest is not None:
        head, comma, hop = rest.rpartition(",")
        yield hop.strip(" \t")
        rest = head if comma else None


def _forwarded_hops(text: str) -> Iterator[str] | None:
    """None when the header is malformed."""
    elements, at = list[str](), 0
    while at < len(text):
        match = _ELEMENT.match(text, at)
        if match is None:
            return None
        elements.append(match[1])
        at = match.end()
    return (_for(element) for element in reversed(elements))


def _for(element: str) -> str:
    """The node in `for=`; empty when there is none."""
    named = _FOR.findall(element)
    if len(named) != 1:
        return ""
    bare, quoted = named[0]
    return bare or re.sub(r"\\(.)", r"\1", quoted)


def _address(node: str) -> Address | None:
    """The address of a node with or without a port; None for `unknown`, a hidden name, and anything malformed."""
    match = _NODE.fullmatch(node.partition("%")[0] if "[" not in node else node)
    if match is None:
        return None
    try:
        address = ip_address(match[1] or match[2] or match[3])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _is_trusted(address: Address, trusted: Proxies) -> bool:
    return any(address in network for network in trusted)


def _proxies(entry: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(entry)
    except ValueError:
        raise ValueError("is not a network such as 10.0.0.0/8, with zeros after the prefix") from None
    if network.prefixlen == 0:
        raise ValueError("has every address: any client could claim to be any other")
    return network
