"""Copies the dashboard screenshots that tests/browser last made to docs/images, for README.md.

.venv/bin/python -m pytest tests/browser/test_dashboard_live.py
.venv/bin/python -m scripts.screenshots
"""

from __future__ import annotations

import shutil
import sys

from scripts.repository import ROOT

MADE = ROOT / "build" / "screenshots"
SHOWN = ROOT / "docs" / "images"
PICTURES = {"dashboard-replaced-light.png": "replaced.png", "dashboard-room-dark.png": "room.png"}
"""The file names in docs/images, by the file names of the tests."""
BYTES_MAX = 150_000
"""Bytes of one picture: a clone of the repository downloads every version of it."""


def main() -> int:
    for made in PICTURES:
        picture = MADE / made
        if not picture.exists():
            print(f"screenshots: {picture} is missing: run tests/browser/test_dashboard_live.py first", file=sys.stderr)
            return 1
        if picture.stat().st_size > BYTES_MAX:
            print(f"screenshots: {picture} has more than {BYTES_MAX} bytes", file=sys.stderr)
            return 1
    SHOWN.mkdir(exist_ok=True)
    for made, shown in PICTURES.items():
        shutil.copyfile(MADE / made, SHOWN / shown)
        print(f"screenshots: {SHOWN / shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
