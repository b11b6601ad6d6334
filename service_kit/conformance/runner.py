"""Goes through the rules, and writes down what comes of each."""

from __future__ import annotations

import time
from collections.abc import Sequence

from livekit import api

from service_kit.conformance.harness import Stage
from service_kit.conformance.report import Broken, Outcome, Skipped, Unable, Verdict
from service_kit.conformance.rules import RULES, Rule, name_of


async def check(stage: Stage, rules: Sequence[Rule] = RULES) -> list[Outcome]:
    """What comes of these rules, one after the other. Raises Unable."""
    return [await _outcome(stage, rule) for rule in rules]


async def _outcome(stage: Stage, rule: Rule) -> Outcome:
    began = time.monotonic()
    try:
        verdict, reason = Verdict.KEPT, await rule(stage)
    except Broken as broken:
        verdict, reason = Verdict.BROKEN, str(broken)
    except Skipped as skipped:
        verdict, reason = Verdict.SKIPPED, str(skipped)
    except api.ServerError as error:
        raise Unable(f"LiveKit refuses: {error.message}") from None
    return Outcome(name_of(rule), rule.__doc__ or "", verdict, reason, time.monotonic() - began)
