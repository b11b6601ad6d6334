"""Ports for servers that run beside those of other processes."""

from __future__ import annotations

import functools
import os

import pytest

from scripts import free_ports
from scripts.free_ports import FREE_PORTS, PORTS, free_port
from tests.ports import take_own_ports

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def own_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the variable as the test sets it, and not those of the rest of this process."""
    monkeypatch.setattr(free_ports, "_candidates", functools.cache(free_ports._candidates.__wrapped__))


def of_worker(number: int, count: int, monkeypatch: pytest.MonkeyPatch) -> range:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(count))
    monkeypatch.setenv(FREE_PORTS, "")  # put back afterwards
    take_own_ports()
    first, last = os.environ[FREE_PORTS].split("-")
    return range(int(first), int(last) + 1)


def test_workers_share_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [of_worker(number, 3, monkeypatch) for number in range(3)]
    ports = [port for part in parts for port in part]
    assert len(ports) == len(set(ports)) > len(PORTS) - 3
    assert set(ports) <= set(PORTS)
    assert of_worker(4, 3, monkeypatch) == parts[1], "a worker that replaces a dead one"


def test_a_free_port_is_of_the_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FREE_PORTS, "20100-20399")
    assert all(free_port() in range(20_100, 20_400) for _ in range(20))


def test_ports_come_again_when_all_were_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FREE_PORTS, "20400-20409")
    assert {free_port() for _ in range(30)} <= set(range(20_400, 20_410))
