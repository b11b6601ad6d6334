"""Decide what to do with a batch after its response, and when to send the next. PURE.

                 taken                          next batch at once
                 refused, single record         dropped; next batch at once
    batch -----> refused, several records       halved at once, until the bad record is found
                 later, unanswered              kept, as long as the queue has room
                 misconfigured                  kept until an operator changes the configuration

After a batch is kept there is a pause, which grows and has jitter, so that processes do not retry in step. One bad
record among many is found at once, after a few refusals in a row; a collector that refuses everything is tried less and
less often.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from http_api.observability.shipping.batch import Batch
from http_api.observability.shipping.response_class import CollectorResponse, ResponseClass
from manager_agent.backoff import backoff

PAUSE, PAUSE_MAX = 0.5, 30.0
"""Seconds without jitter: after the first failure, and at most."""
SLOW_PAUSE, SLOW_PAUSE_MAX = 5.0, 60.0
"""The same when an operator has to change the configuration."""
REFUSALS_AT_ONCE = 16
"""Refusals in a row without a pause. A single bad record among 500 is found after ten, two adjacent ones after
eleven."""


class BatchOutcome(StrEnum):
    """What to do with a batch."""

    ARRIVED = "arrived"
    HALVED = "halved"
    KEPT = "kept"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The state after the responses so far. Each response produces the next state."""

    seed: str
    """The seed of the jitter, different in each process."""
    outcome: BatchOutcome = BatchOutcome.ARRIVED
    """The outcome of the last batch."""
    pause: float = 0.0
    """Seconds until the next batch may be sent."""
    is_failing: bool = False
    """Whether to report a failure. A single failure is not reported, because it may be a restart."""
    failures: int = 0
    """Tries in a row that were neither accepted nor refused."""
    refusals: int = 0
    """Refusals since a batch was last accepted."""

    def after(self, answer: CollectorResponse, batch: Batch) -> RetryPolicy:
        match answer.response_class:
            case ResponseClass.TAKEN:
                return RetryPolicy(self.seed)
            case ResponseClass.REFUSED:
                return self._refused(batch)
        failed = replace(self, outcome=BatchOutcome.KEPT, failures=self.failures + 1, is_failing=self.failures > 0)
        if answer.response_class is ResponseClass.MISCONFIGURED:
            pause = backoff(self.seed, failed.failures, first=SLOW_PAUSE, most=SLOW_PAUSE_MAX)
            return replace(failed, pause=pause, is_failing=True)
        pause = backoff(self.seed, failed.failures, first=PAUSE, most=PAUSE_MAX)
        return replace(failed, pause=pause if answer.retry_after is None else max(answer.retry_after, PAUSE))

    def _refused(self, batch: Batch) -> RetryPolicy:
        refusals = self.refusals + 1
        too_many = refusals - REFUSALS_AT_ONCE
        return replace(
            self,
            outcome=BatchOutcome.HALVED if len(batch) > 1 else BatchOutcome.REFUSED,
            pause=backoff(self.seed, too_many, first=PAUSE, most=PAUSE_MAX) if too_many > 0 else 0.0,
            is_failing=too_many > 0,
            failures=0,
            refusals=refusals,
        )
