"""`python -m scripts.network --ensure`: exit 1, with the way out, if no participant could join a room here."""

from __future__ import annotations

import sys

from manager_agent.interfaces import NO_INTERFACE, WAY_OUT, has_interface

if __name__ == "__main__":
    sys.exit(None if has_interface() else f"{NO_INTERFACE}. Way out: {WAY_OUT}")
