"""The fixture of examples/node-service, a service that is not written in Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.repository import ROOT

SERVICE = "node-service"
INSTALL_TIMEOUT = 100.0


@pytest.fixture(scope="session")
def node_service_folder() -> Path:
    """The folder of examples/node-service with its packages installed. Skips the test on a machine without Node."""
    missing = " and ".join(tool for tool in ("node", "npm") if shutil.which(tool) is None)
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{missing} not found")
    assert not missing, f"{missing} not found"
    folder = ROOT / "examples" / SERVICE
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if not stamp.exists() or stamp.read_text() != lock:
        npm = subprocess.run(["npm", "ci"], cwd=folder, timeout=INSTALL_TIMEOUT, capture_output=True, text=True)
        assert npm.returncode == 0, npm.stdout + npm.stderr
        stamp.write_text(lock)
    return folder
