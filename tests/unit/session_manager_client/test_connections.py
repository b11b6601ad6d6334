"""Which proxy the client takes, and how it describes a server that it can't reach."""

from __future__ import annotations

import ast
import os

import pytest

from scripts.repository import ROOT
from session_manager_client.proxies import environment_proxy
from tests.source_code import parsed

pytestmark = pytest.mark.unit

PROXY = "http://proxy:3128"


def test_an_unreached_server_is_described_as_the_server_describes_others() -> None:
    """The client is installed without the server, so it has a copy."""
    copied = functions_of("session_manager_client/network_errors.py")
    assert copied == functions_of("manager_agent/unreachable.py") != []


def functions_of(path: str) -> list[list[str]]:
    """The bodies of the functions of a file."""
    found = [node for node in parsed(ROOT / path).body if isinstance(node, ast.FunctionDef)]
    return [[ast.dump(statement) for statement in function.body] for function in found]


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://manager:8080", None),
        ({"http_proxy": PROXY}, "http://manager:8080", PROXY),
        ({"http_proxy": PROXY}, "https://manager", None),
        ({"ALL_PROXY": PROXY}, "https://manager", PROXY),
        ({"ALL_PROXY": "socks5://proxy:1080"}, "https://manager", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "manager"}, "https://manager", None),
        ({"http_proxy": PROXY}, "http://localhost:8080", None),
    ],
)
def test_the_client_takes_its_proxy_from_the_environment(
    environment: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(url) == proxy
