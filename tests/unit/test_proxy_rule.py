"""One rule for all connections: which go through a proxy, and which directly."""

from __future__ import annotations

import pytest

from http_api.doctor.network import proxies
from http_api.settings.settings import Settings
from manager_agent.proxy_rule import ProxyRule
from tests.tenants import production

pytestmark = pytest.mark.unit

PROXY, OTHER = "http://proxy:3128", "http://other:3128"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


def rule(monkeypatch: pytest.MonkeyPatch, **environment: str) -> ProxyRule:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return ProxyRule.of_environment()


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "wss://livekit.example.com", None),
        ({"HTTP_PROXY": PROXY}, "ws://livekit:7880", PROXY),
        ({"http_proxy": PROXY}, "ws://livekit:7880", PROXY),
        ({"HTTP_PROXY": PROXY}, "wss://livekit.example.com", None),
        ({"HTTPS_PROXY": PROXY}, "wss://livekit.example.com", PROXY),
        ({"https_proxy": PROXY}, "https://issuer.example.com/jwks", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://vector:8686", None),
        ({"ALL_PROXY": PROXY}, "http://vector:8686", PROXY),
        ({"all_proxy": PROXY, "HTTPS_PROXY": OTHER}, "wss://livekit.example.com", OTHER),
        ({"HTTP_PROXY": "proxy:3128"}, "ws://livekit:7880", PROXY),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "*"}, "ws://livekit:7880", None),
        ({"HTTP_PROXY": PROXY, "no_proxy": "db, livekit"}, "ws://livekit:7880", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": ".example.com"}, "ws://livekit.example.com", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "example.com"}, "ws://livekit.example.com", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "example.com"}, "ws://livekit.example.org", PROXY),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "livekit:7880"}, "ws://livekit:7880", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "livekit:7881"}, "ws://livekit:7880", PROXY),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "ws://10.1.2.3:7880", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "ws://11.1.2.3:7880", PROXY),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "fd12::/16"}, "ws://[fd12::1]:7880", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "[fd12::1]"}, "ws://[fd12::1]:7880", None),
        ({"HTTP_PROXY": PROXY}, "ws://localhost:7880", None),  # the proxy would look for it on its own machine
        ({"HTTP_PROXY": PROXY}, "ws://[::1]:7880", None),
        ({"HTTP_PROXY": "http://127.0.0.1:3128"}, "ws://localhost:7880", "http://127.0.0.1:3128"),
        ({"ALL_PROXY": "socks5://proxy:1080"}, "ws://livekit:7880", None),
    ],
)
def test_a_url_goes_through_the_proxy_that_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    assert rule(monkeypatch, **environment).of(url) == proxy


def test_the_doctor_says_which_way_each_connection_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        _env_file=None,
        **production(LIVEKIT_SERVER_URL="wss://livekit.example.com", vector_log_enabled=True),
    )
    found = proxies(settings, rule(monkeypatch, HTTPS_PROXY="http://user:s3cret@proxy:3128", HTTP_PROXY=OTHER))
    assert (found.verdict, found.says) == (
        "ok",
        "livekit through http://proxy:3128; logs directly; invites and callbacks always directly",
    )
    found = proxies(settings, rule(monkeypatch, ALL_PROXY="socks5://proxy:1080"))
    assert found.verdict == "warning"
    assert "livekit directly, not through socks5://proxy:1080" in found.says
