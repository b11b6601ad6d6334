"""`python -m scripts.network --ensure`: exit 1, with the way out, if no participant could join a room here."""

from __future__ import annotations

import sys

from manager_agent.interfaces import HELP, has_interface

if __name__ == "__main__":
    sys.exit(None if has_interface() else HELP)
