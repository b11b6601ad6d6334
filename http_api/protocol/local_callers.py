"""Whether a request comes from this machine's own programs and pages, for an API that needs no credentials. PURE.

A page of any web site can send requests to loopback, and, by pointing its own host name to loopback (DNS rebinding),
even read the responses. Host tells the second apart, Origin and Sec-Fetch-Site (W3C Fetch Metadata) the first: pages
can't forge them.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")
OWN_SITE = frozenset({"same-origin", "none"})
"""Sec-Fetch-Site of our own pages, and of what users type or bookmark."""


def names_loopback(host: str) -> bool:
    """Whether the value of a Host header names loopback: `localhost`, an address in 127.0.0.0/8 or `[::1]`, with any
    port. Other spellings of these addresses are refused."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match[2] or "").lower().removesuffix(".")
    try:
        return name == "localhost" or (IPv6Address(match[1]) if match[1] else IPv4Address(name)).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """The origins whose pages may call the API from a browser."""

    listed: frozenset[str]
    """Those in CORS_ORIGINS."""
    of_this_machine: bool = False
    """Whether pages that are served on loopback may call too: what serves them is a program of this machine, which
    could call by itself. No page of a web site has such an origin."""

    def __bool__(self) -> bool:
        return bool(self.listed) or self.of_this_machine

    def __contains__(self, origin: object) -> bool:
        if origin in self.listed:
            return True
        scheme, _, host = str(origin).partition("://")
        return self.of_this_machine and scheme in ("http", "https") and names_loopback(host)


def is_foreign_page(host: str, origin: str | None, site: str | None, allowed: Container[str]) -> bool:
    """Whether a page of another origin sent the request. `site`: Sec-Fetch-Site. `allowed`: the origins whose pages may
    call."""
    if origin is not None:
        return origin not in allowed and origin.lower() != f"http://{host}".lower()
    return site is not None and site.strip().lower() not in OWN_SITE
