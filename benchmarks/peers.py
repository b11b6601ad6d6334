"""Packages that are compared with this project and are no dependency of it: each in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.repository import ROOT

OPENRTC = "openrtc==0.20.1"
PEERS = ROOT / "build/peers"
INSTALL_TIMEOUT = 120.0


class PeerMissing(Exception):
    """The package could not be installed. The message says why."""


def installed(requirement: str) -> Path:
    """The folder with the package, which is installed there if it is missing. For the PYTHONPATH of a child: the
    packages of this project, such as livekit-agents, serve it too. Raises PeerMissing."""
    folder = PEERS / requirement.replace("==", "-")
    if not folder.exists():
        command = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        try:
            subprocess.run(
                (*command, "--target", str(unfinished), requirement),
                check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise PeerMissing(f"{requirement}: {error.stderr.strip()}") from None
        except subprocess.TimeoutExpired as error:
            raise PeerMissing(f"{requirement}: {error}") from None
        unfinished.rename(folder)
    return folder
