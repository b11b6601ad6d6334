"""What is done with a batch after its answer, and when the next may be sent. PURE.

                 taken                          the next batch at once
                 refused, a single record       dropped; the next one at once
    batch -----> refused, more                  halved, until the bad one is found; at once
                 later, unanswered              kept, for as long as there is room for it
                 failed                         kept, but not for ever: it may be the batch itself
                 misconfigured                  kept; somebody has to come and change something

Where something is kept there is a pause, which grows and is spread, so that not all processes come back at once.
One bad record among many costs some refusals in a row, and is found at once; a collector that refuses everything is
asked more and more seldom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from http_api.observability.shipping.batch import Batch
from http_api.observability.shipping.response_class import CollectorResponse, ResponseClass
from manager_agent.backoff import backoff

TRIES_MAX = 10
"""Of a batch at which the collector fails."""
PAUSE, PAUSE_MAX = 0.5, 30.0
"""Seconds, but for the spread: after the first failure, and at most."""
SLOW_PAUSE, SLOW_PAUSE_MAX = 5.0, 60.0
"""The same, where somebody has to change something."""
REFUSALS_AT_ONCE = 16
"""In a row. The only bad record among 500 is found after ten, and two that stand side by side after eleven."""


class BatchOutcome(StrEnum):
    """What is to become of a batch."""

    ARRIVED = "arrived"
    HALVED = "halved"
    KEPT = "kept"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What the answers so far have taught. Each answer makes the next one of these."""

    seed: str
    """Spreads the pauses: another one in each process."""
    outcome: BatchOutcome = BatchOutcome.ARRIVED
    """Of the last batch."""
    pause: float = 0.0
    """Seconds until the next may be sent."""
    is_failing: bool = False
    """It is time to tell somebody. One failure alone may be a restart."""
    failures: int = 0
    """In a row: nothing was taken, nor refused."""
    refusals: int = 0
    """In a row: nothing was taken."""
    failed_batch: int | None = None
    failed_tries: int = 0
    """How often the collector has failed at that batch."""

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
        failed = replace(failed, pause=pause if answer.retry_after is None else max(answer.retry_after, PAUSE))
        return failed._failed(batch) if answer.response_class is ResponseClass.FAILED else failed

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
            failed_batch=None,
        )

    def _failed(self, batch: Batch) -> RetryPolicy:
        tries = self.failed_tries + 1 if batch.end == self.failed_batch else 1
        outcome = BatchOutcome.GIVEN_UP if tries >= TRIES_MAX else BatchOutcome.KEPT
        return replace(self, outcome=outcome, failed_batch=batch.end, failed_tries=tries)
