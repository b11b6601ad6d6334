"""Which connections go through a proxy: one rule for all of them, from the variables that curl and most tools read.

HTTP_PROXY for http and ws, HTTPS_PROXY for https and wss, ALL_PROXY for the rest, NO_PROXY for hosts that are reached
directly, each in upper or lower case. Without it every library has a rule of its own: aiohttp reads none of them,
livekit-agents no NO_PROXY, the SDK's native side no NO_PROXY and no ALL_PROXY.
"""

from __future__ import annotations

import functools
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.request import getproxies_environment

from yarl import URL

from manager_agent.setting_text import without_quotes

SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
UNUSABLE = "neither aiohttp nor LiveKit's SDK can use this kind of proxy"
SEPARATORS = re.compile(r"[\s,]+")


class BadProxy(ValueError):
    """A variable that can't be used. The message names it and contains nothing of its value."""


@dataclass(frozen=True, slots=True)
class ProxyRule:
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The URL of the proxy for `http`, `https` and `all`. They may contain passwords."""
    exempt: tuple[str, ...] = ()
    """The entries of NO_PROXY, in lower case."""

    @classmethod
    def of_environment(cls) -> ProxyRule:
        """Raises BadProxy."""
        values = getproxies_environment()
        proxies = {kind: _proxy_url(kind, values[kind]) for kind in ("http", "https", "all") if kind in values}
        entries = SEPARATORS.split(_text("no", values.get("no", "")).lower())
        return cls({kind: url for kind, url in proxies.items() if url}, tuple(filter(None, entries)))

    @property
    def is_empty(self) -> bool:
        """Whether no proxy is set, so that everything is reached directly."""
        return not self.proxies

    @property
    def secrets(self) -> frozenset[str]:
        """What must not be logged: the passwords, as they are written and as they are sent."""
        found: set[str] = set()
        for url in map(URL, self.proxies.values()):
            if url.password and url.raw_password:
                credentials = f"{url.user or ''}:{url.password}".encode()
                found |= {url.password, url.raw_password, b64encode(credentials).decode()}
        return frozenset(found)

    def of(self, url: str) -> str | None:
        """The URL of the proxy through which this URL is reached; None if directly."""
        proxy = self._named_for(url)
        return proxy if proxy is not None and URL(proxy).scheme == "http" else None

    def describe(self, url: str) -> str:
        """How this URL is reached, to show: no password is in it."""
        proxy = self._named_for(url)
        if proxy is None:
            return "directly"
        shown = URL(proxy).origin()
        return f"through {shown}" if self.of(url) is not None else f"directly, not through {shown}: {UNUSABLE}"

    def _named_for(self, url: str) -> str | None:
        target = URL(url)
        proxy = self.proxies.get(SCHEMES.get(target.scheme, ""), self.proxies.get("all"))
        hosts = {host.lower().rstrip(".") for host in (target.host, target.raw_host) if host}  # raw_host: xn--
        if proxy is None or any(_matches(entry, host, target.port) for entry in self.exempt for host in hosts):
            return None
        if any(map(is_loopback_host, hosts)) and not is_loopback_host(URL(proxy).raw_host or ""):
            return None  # a proxy on another machine would look for it there
        return proxy


@functools.cache
def proxy_rule() -> ProxyRule:
    """The rule of this process. Read once: signal_proxy.py changes the variables for the SDK's native side. Raises
    BadProxy."""
    return ProxyRule.of_environment()


def is_loopback_host(host: str) -> bool:
    """Whether the host is this machine: `localhost`, a name below it (RFC 6761), or a loopback address."""
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback


def _text(kind: str, value: str) -> str:
    try:
        return str(without_quotes(value))
    except ValueError as wrong:
        raise BadProxy(f"{kind.upper()}_PROXY: {wrong}") from None


def _proxy_url(kind: str, value: str) -> str:
    """The URL of a proxy; empty if none is set."""
    text = _text(kind, value)
    if not text:
        return ""
    text = text if "://" in text else f"http://{text}"
    try:
        url = URL(text)
        is_usable = url.host is not None and url.path in ("", "/") and not re.search(r"[?#\s]", text)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise BadProxy(
            f"{kind.upper()}_PROXY: must look like http://user:password@host:port, with special characters of the user "
            "and the password percent-encoded"
        )
    scheme, _, rest = text.partition("://")
    return f"{scheme.lower()}://{rest}"


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY covers a host. An entry is `*`, a host name with its subdomains (also `.name` and
    `*.name`), an IP address or a network, each for all ports or with one."""
    if entry == "*":
        return True
    name, only_port = _name_and_port(entry)
    if only_port and only_port != str(port):
        return False
    address = _address(host)
    if address is None:
        name = name.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ip_network(name, strict=False)
    except (ValueError, TypeError):  # TypeError: of the other version
        return False


def _name_and_port(entry: str) -> tuple[str, str]:
    """Separate the port of an entry, which may be empty. An IPv6 address with a port is in brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        network, _, port = rest.partition(":")
        return name + network, port
    if entry.count(":") > 1:
        return entry, ""
    name, _, port = entry.partition(":")
    return name, port


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
