"""A machine with nothing but loopback: a laptop without network, or a container. Made with a network namespace."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.live

WITHOUT_NETWORK = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run it where only loopback is up. Skips the test where no namespace can be made."""
    try:
        subprocess.run([*WITHOUT_NETWORK, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    return subprocess.run([*WITHOUT_NETWORK, *command], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", ["scripts.demo", "scripts.network"])
def test_scripts_name_the_cause_and_the_way_out_at_once(program: str) -> None:
    ended = run(sys.executable, "-m", program)
    assert ended.returncode == 1
    assert "only loopback is up" in ended.stderr
    assert "ip link add dummy0" in ended.stderr


def test_the_doctor_names_them() -> None:
    ended = run(sys.executable, "-c", "from http_api.cli import main; main()", "doctor", "--dev", "--json")
    found = {check["check"]: check for check in json.loads(ended.stdout)["checks"]}
    assert found["interface"]["verdict"] == "wrong"
    assert "ip link add dummy0" in found["interface"]["mend"]


def test_live_tests_say_so_instead_of_failing_one_by_one() -> None:
    tests = ("-p", "no:cacheprovider", "-n", "0", "tests/live/doctor/test_doctor.py")
    ended = run(sys.executable, "-m", "pytest", *tests)
    assert ended.returncode == 1
    assert "only loopback is up" in ended.stdout
    assert "failed" not in ended.stdout
