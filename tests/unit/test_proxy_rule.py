"""One rule for all connections: which go through a proxy, and which directly."""

from __future__ import annotations

from base64 import b64encode

import pytest

from http_api.doctor.network import proxies
from http_api.settings.settings import Settings
from manager_agent.proxy_rule import BadProxy, ProxyRule
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
        ({"HTTP_PROXY": PROXY}, "ws://localhost.:7880", None),
        ({"HTTP_PROXY": PROXY}, "ws://livekit.localhost:7880", None),
        ({"HTTP_PROXY": PROXY}, "ws://[::ffff:127.0.0.1]:7880", None),
        ({"ALL_PROXY": "socks5://proxy:1080"}, "ws://livekit:7880", None),
        ({"HTTP_PROXY": " HTTP://proxy:3128\r"}, "ws://livekit:7880", PROXY),
        ({"HTTP_PROXY": PROXY, "http_proxy": ""}, "ws://livekit:7880", None),
        ({"HTTP_PROXY": " "}, "ws://livekit:7880", None),
    ],
)
def test_a_url_goes_through_the_proxy_that_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    assert rule(monkeypatch, **environment).of(url) == proxy


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("*.example.com", "ws://livekit.example.com"),
        ("*.example.com:7880", "ws://livekit.example.com:7880"),
        (".example.com:80", "ws://livekit.example.com"),
        ("example.com.", "ws://livekit.example.com"),
        ("EXAMPLE.COM", "ws://livekit.example.com."),
        ("db,*", "ws://livekit"),
        ("db *", "ws://livekit"),
        ("db livekit", "ws://livekit"),
        ("10.0.0.0/8:7880", "ws://10.1.2.3:7880"),
        ("10.1.2.3:7880", "ws://10.1.2.3:7880"),
        ("10.0.0.0/8", "ws://[::ffff:10.1.2.3]:7880"),
        ("FD12:0::1", "ws://[fd12::1]:7880"),
        ("[fd12::1]:7880", "ws://[fd12::1]:7880"),
        ("[fd12::]/16:7880", "ws://[fd12::1]:7880"),
        ("bücher.example", "ws://bücher.example"),
        ("xn--bcher-kva.example", "ws://bücher.example"),
    ],
)
def test_an_entry_of_no_proxy_exempts_the_hosts_that_it_covers(
    monkeypatch: pytest.MonkeyPatch, entry: str, url: str
) -> None:
    assert rule(monkeypatch, HTTP_PROXY=PROXY, NO_PROXY=entry).of(url) is None


@pytest.mark.parametrize(
    "entry", ["kit", "example.org", "livekit:1", "10.0.0.0/8:1", "[fd12::1]:1", "/", "*.", ":7880", "[", "]"]
)
@pytest.mark.parametrize("url", ["ws://livekit:7880", "ws://10.1.2.3:7880", "ws://[fd12::1]:7880"])
def test_an_entry_of_no_proxy_exempts_no_other_host(monkeypatch: pytest.MonkeyPatch, entry: str, url: str) -> None:
    assert rule(monkeypatch, HTTP_PROXY=PROXY, NO_PROXY=entry).of(url) == PROXY


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("HTTPS_PROXY", '"http://proxy:3128"', "in quotes"),
        ("https_proxy", "http://proxy:port", "must look like"),
        ("HTTP_PROXY", "http://", "must look like"),
        ("ALL_PROXY", "http://user:s3cr#t@proxy:3128", "percent-encoded"),
        ("HTTP_PROXY", "http://user:s3cr/t@proxy:3128", "percent-encoded"),
        ("HTTP_PROXY", "http://proxy:3128/path", "must look like"),
        ("NO_PROXY", "'localhost'", "in quotes"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    with pytest.raises(BadProxy, match=rf"^{name.upper()}: .*{why}") as refused:
        rule(monkeypatch, **{name: value})
    assert "s3cr" not in str(refused.value)


def test_the_passwords_of_proxies_are_known_as_written_and_as_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rule(monkeypatch, HTTP_PROXY="http://user:p%40ss@proxy:3128", HTTPS_PROXY=PROXY)
    assert found.secrets == {"p%40ss", "p@ss", b64encode(b"user:p@ss").decode()}
    assert "p%40ss" not in found.describe("ws://livekit") + repr(found)


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
