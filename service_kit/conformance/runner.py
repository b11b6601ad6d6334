"""Runs the rules and records their outcomes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from livekit import api

from service_kit.conformance.harness import Harness
from service_kit.conformance.report import Broken, RuleOutcome, RuleVerdict, Skipped, Unable
from service_kit.conformance.rules import RULES, Rule, name_of


async def check(harness: Harness, rules: Sequence[Rule] = RULES) -> list[RuleOutcome]:
    """Run the rules one after the other. Raises Unable."""
    return [await _outcome(harness, rule) for rule in rules]


async def _outcome(harness: Harness, rule: Rule) -> RuleOutcome:
    began = time.monotonic()
    try:
        verdict, reason = RuleVerdict.KEPT, await rule(harness)
    except Broken as broken:
        verdict, reason = RuleVerdict.BROKEN, str(broken)
    except Skipped as skipped:
        verdict, reason = RuleVerdict.SKIPPED, str(skipped)
    except api.ServerError as error:
        raise Unable(f"LiveKit refused a request: {error.message}") from None
    return RuleOutcome(name_of(rule), rule.__doc__ or "", verdict, reason, time.monotonic() - began)
