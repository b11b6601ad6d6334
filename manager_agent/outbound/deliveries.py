"""One event on its way to a client's own back end: what became of each try, and when the next one is due.

PURE: the time is given.

                2xx
    pending ------------> delivered
      |  ^ |
      |  +-+ anything else, or no answer: tried again, for RETRY_WINDOW from the first try
      |
      +-----------------> given_up      also at 410, and when its turn never came
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus

from yarl import URL

from manager_agent.backoff import backoff
from manager_agent.session.change_values import StateChanged
from manager_agent.store.store import Change

RETRY_WINDOW = 600.0
"""Seconds after its first try in which an event is tried again."""
PAUSE, PAUSE_MAX = 1.0, 60.0
"""Seconds between two tries, but for the spread: after the first, and at most."""
KEPT = 100
"""So many deliveries of each owner can be read."""
OWNERS_MAX = 1_000
"""Of more than these, those are forgotten to whom nothing was sent for longest."""


class CallbackEvent(StrEnum):
    """What a client's back end is told: that a session has taken the state of this name."""

    READY = "session_ready"
    DEGRADED = "session_degraded"
    ACTIVE = "session_active"
    ENDED = "session_ended"
    FAILED = "session_failed"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


def event_of(change: Change) -> CallbackEvent | None:
    """The event of this change; None when the state is the same, or the session was refused to its caller."""
    states = [happened.after for happened in change.happened if isinstance(happened, StateChanged)]
    return CallbackEvent(f"session_{states[0]}") if states and not change.session.room.taken else None


@dataclass(frozen=True, slots=True)
class Delivery:
    id: str
    """The same at every try."""
    event: CallbackEvent
    session_id: str
    owner: str
    """The name of the caller whose session it is."""
    url: str = field(repr=False)
    created_at: float
    state: DeliveryState = DeliveryState.PENDING
    tries: int = 0
    first_tried_at: float | None = None
    last_status: int | None = None
    """What the last try was answered with; None when it was not answered."""
    last_error: str | None = None
    """Why the last try was not answered, or why there will be none; our own words, nothing that came from there."""
    next_try_at: float | None = None
    """None while it is being tried, waits for its turn, or is finished."""
    finished_at: float | None = None

    @property
    def host(self) -> str:
        """Host and port of the URL: what may be shown to others, as the rest may hold a secret."""
        return URL(self.url).host_port_subcomponent or ""

    @property
    def is_unwanted(self) -> bool:
        """The other side wants to hear no more of this session."""
        return self.last_status == HTTPStatus.GONE

    def begun(self, at: float) -> Delivery:
        """A try is under way."""
        first = at if self.first_tried_at is None else self.first_tried_at
        return replace(self, tries=self.tries + 1, first_tried_at=first, next_try_at=None)

    def answered(self, status: int, at: float) -> Delivery:
        """The try under way was answered with this status."""
        answered = replace(self, last_status=status, last_error=None)
        if 200 <= status < 300:
            return replace(answered, state=DeliveryState.DELIVERED, finished_at=at)
        return answered._given_up(at) if answered.is_unwanted else answered._failed(at)

    def unanswered(self, why: str, at: float) -> Delivery:
        """The try under way was not answered."""
        return replace(self, last_status=None, last_error=why)._failed(at)

    def abandoned(self, why: str, at: float) -> Delivery:
        """It is not tried, or not any more, for reasons of our own."""
        return replace(self, last_error=why)._given_up(at)

    def _failed(self, at: float) -> Delivery:
        assert self.first_tried_at is not None, "begun() first"
        due = at + backoff(self.id, self.tries, first=PAUSE, most=PAUSE_MAX)
        if due > self.first_tried_at + RETRY_WINDOW:
            return self._given_up(at)
        return replace(self, next_try_at=due)

    def _given_up(self, at: float) -> Delivery:
        return replace(self, state=DeliveryState.GIVEN_UP, next_try_at=None, finished_at=at)


class DeliveryLog:
    """The last deliveries of each owner, as they now are."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, OrderedDict[str, Delivery]] = OrderedDict()

    def add(self, delivery: Delivery) -> None:
        """Keeps a new delivery, in place of the oldest if need be."""
        page = self._owners.setdefault(delivery.owner, OrderedDict())
        self._owners.move_to_end(delivery.owner)
        page[delivery.id] = delivery
        if len(page) > KEPT:
            page.popitem(last=False)
        if len(self._owners) > OWNERS_MAX:
            self._owners.popitem(last=False)

    def update(self, delivery: Delivery) -> None:
        """What became of one that was added; nothing if it is kept no more."""
        page = self._owners.get(delivery.owner)
        if page is not None and delivery.id in page:
            page[delivery.id] = delivery

    def latest(self, seen: Callable[[str], bool]) -> list[Delivery]:
        """The last KEPT deliveries, newest first, of all owners for whom `seen` holds."""
        pages = [reversed(page.values()) for owner, page in self._owners.items() if seen(owner)]
        deliveries = (delivery for page in pages for delivery in page)
        return sorted(deliveries, key=lambda delivery: delivery.created_at, reverse=True)[:KEPT]
