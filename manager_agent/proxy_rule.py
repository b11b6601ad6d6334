"""Which connections go through a proxy: one rule for all of them, from the variables that curl and most tools read.

HTTP_PROXY for http and ws, HTTPS_PROXY for https and wss, ALL_PROXY for the rest, NO_PROXY for hosts that are reached
directly, each in upper or lower case. Without it every library has a rule of its own: aiohttp reads none of them,
livekit-agents no NO_PROXY, the SDK's native side no NO_PROXY and no ALL_PROXY.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from yarl import URL

SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
UNUSABLE = "neither aiohttp nor LiveKit's SDK can use this kind of proxy"


@dataclass(frozen=True, slots=True)
class ProxyRule:
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The values of the variables, by `http`, `https`, `all` and `no`. They may contain passwords."""

    @classmethod
    def of_environment(cls) -> ProxyRule:
        return cls(dict(getproxies_environment()))

    @property
    def is_empty(self) -> bool:
        """Whether no proxy is set, so that everything is reached directly."""
        return not self.proxies.keys() & {"http", "https", "all"}

    def of(self, url: str) -> str | None:
        """The URL of the proxy through which this URL is reached; None if directly."""
        proxy = self._named_for(url)
        return proxy if proxy is not None and URL(proxy).scheme == "http" else None

    def describe(self, url: str) -> str:
        """How this URL is reached, to show: no password is in it."""
        proxy = self._named_for(url)
        if proxy is None:
            return "directly"
        shown = URL(proxy).with_user(None)
        return f"through {shown}" if self.of(url) is not None else f"directly, not through {shown}: {UNUSABLE}"

    def _named_for(self, url: str) -> str | None:
        target = URL(url)
        host = target.raw_host or ""
        proxy = self.proxies.get(SCHEMES.get(target.scheme, ""), self.proxies.get("all"))
        if not proxy or self._is_exempt(host, target.port):
            return None
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        if is_loopback_host(host) and not is_loopback_host(URL(proxy).raw_host or ""):
            return None  # a proxy on another machine would look for it there
        return proxy

    def _is_exempt(self, host: str, port: int | None) -> bool:
        bracketed = f"[{host}]" if ":" in host else host
        if proxy_bypass_environment(f"{bracketed}:{port}", self.proxies):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(_contains(entry, address) for entry in self.proxies.get("no", "").split(","))


@functools.cache
def proxy_rule() -> ProxyRule:
    """The rule of this process. Read once: room_connection.py changes the variables for the SDK's native side."""
    return ProxyRule.of_environment()


def is_loopback_host(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _contains(entry: str, address: object) -> bool:
    """Whether an entry of NO_PROXY is a network, or an IPv6 address, that contains this address."""
    try:
        return address in ip_network(entry.strip().strip("[]"), strict=False)
    except (ValueError, TypeError):
        return False
