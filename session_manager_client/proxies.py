"""The proxy of a URL, by the environment."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

ProxyOf = Callable[[str], str | None]
"""The URL of the proxy through which a URL is reached; None: it is reached directly."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for a URL, as urllib and requests read them.
    This machine itself is reached directly, and so is everything if the proxy is of a kind that aiohttp can't use."""
    target, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(target.scheme, proxies.get("all", ""))
    is_direct = target.hostname in LOOPBACK or proxy_bypass(target.netloc)
    return None if is_direct or not proxy.startswith("http://") else proxy
