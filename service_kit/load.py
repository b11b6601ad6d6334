"""How busy a service is, as its own code tells it."""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

log = structlog.get_logger()

LoadGauge = Callable[[], float]
"""Tells how busy the service is, from 0 to 1."""


def read(gauge: LoadGauge) -> float | None:
    """What the gauge shows, kept within 0 and 1; None when it fails or shows no number: nothing hangs on it."""
    try:
        shown = float(gauge())
    except Exception as error:
        log.warning("load_unknown", why=repr(error))
        return None
    return None if math.isnan(shown) else min(max(shown, 0.0), 1.0)
