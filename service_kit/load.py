"""The load of a service, measured by its own code."""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

log = structlog.get_logger()

LoadGauge = Callable[[], float]
"""Returns how busy the service is, from 0 to 1."""


def read(gauge: LoadGauge) -> float | None:
    """The gauge's value, clamped to 0..1. None if the gauge raises or returns NaN: the load is optional."""
    try:
        shown = float(gauge())
    except Exception as error:
        log.warning("load_unknown", why=repr(error))
        return None
    return None if math.isnan(shown) else min(max(shown, 0.0), 1.0)
