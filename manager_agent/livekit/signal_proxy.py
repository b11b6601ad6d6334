"""The proxy of the SDK's native side, which opens the WebSocket of a room itself."""

from __future__ import annotations

import os

from manager_agent.proxy_rule import proxy_rule

VARIABLES = {"ws": ("HTTP_PROXY", "http_proxy"), "wss": ("HTTPS_PROXY", "https_proxy")}
"""What the native side reads when it connects, for each scheme, and nothing else: no NO_PROXY, no ALL_PROXY."""


def set_signal_proxy(url: str) -> None:
    """Have the native side reach this ws or wss URL as the rule says. Changes the environment of the process.

    A process that connects to several LiveKit servers by one scheme must reach all of them in the same way at any time.
    """
    rule = proxy_rule()
    if rule.is_empty:
        return
    proxy = rule.of(url)
    for name in VARIABLES[url.partition("://")[0]]:
        if os.environ.get(name) == proxy:
            continue  # a change may break a thread of native code that reads the environment at this moment
        if proxy is None:
            del os.environ[name]
        else:
            os.environ[name] = proxy
