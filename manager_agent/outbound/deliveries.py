"""The delivery of one event to a client's back end: the outcome of each try, and when the next one is due.

PURE. Times are passed in.

                2xx
    pending ------------> delivered
      |  ^ |
      |  +-+ any other response, or none: tried again for RETRY_WINDOW from the first try
      |
      +-----------------> given_up      also after a 410, and if it was never tried
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus

from yarl import URL

from manager_agent.backoff import backoff
from manager_agent.session.change_values import StateChanged
from manager_agent.session.session import Session
from manager_agent.store.store import Change

RETRY_WINDOW = 600.0
"""Seconds after the first try in which an event is tried again."""
PAUSE, PAUSE_MAX = 1.0, 60.0
"""Seconds between two tries, without the jitter: after the first try, and at most."""
KEPT = 100
"""The number of deliveries kept per owner."""
OWNERS_MAX = 1_000
"""The number of owners whose deliveries are kept: those with the latest deliveries."""


class CallbackEvent(StrEnum):
    """The event of a callback: the session has entered the state of this name."""

    READY = "session_ready"
    WAITING = "session_waiting"
    DEGRADED = "session_degraded"
    ACTIVE = "session_active"
    ENDED = "session_ended"
    FAILED = "session_failed"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


def is_event(change: Change) -> bool:
    """Whether the state changed. Not if the session was refused because its room name is taken."""
    return not change.session.room.is_refused_name and any(isinstance(part, StateChanged) for part in change.parts)


def event_id(session: Session) -> str:
    """The id of the event of its present state: computed, so that a process that tells it again gives it the same."""
    return f"cb_{session.session_id.removeprefix('ses_')}_{session.state_revision}"


@dataclass(frozen=True, slots=True)
class Delivery:
    id: str
    """The same for every try."""
    event: CallbackEvent
    session_id: str
    revision: int
    """The revision with which the session entered the state."""
    owner: str
    """The name of the caller that owns the session."""
    url: str = field(repr=False)
    created_at: float
    state: DeliveryState = DeliveryState.PENDING
    tries: int = 0
    first_tried_at: float | None = None
    last_status: int | None = None
    """The status of the last response; None if the last try got none."""
    last_error: str | None = None
    """Why the last try got no response, or why there is no further try. Contains nothing that the receiver sent."""
    next_try_at: float | None = None
    """None during a try, before the first, and when finished."""
    finished_at: float | None = None

    @property
    def host(self) -> str:
        """Host and port of the URL. The rest may contain a secret and is not shown to others."""
        return URL(self.url).host_port_subcomponent or ""

    @classmethod
    def of(cls, session: Session, url: str, at: float) -> Delivery:
        """The event of the present state."""
        event = CallbackEvent(f"session_{session.state}")
        return cls(event_id(session), event, session.session_id, session.state_revision, session.owner, url, at)

    @property
    def is_unwanted(self) -> bool:
        """The receiver wants no further events of this session."""
        return self.last_status == HTTPStatus.GONE

    def begun_anew(self) -> Delivery:
        """As the next process sends it: with all the time for retries."""
        return replace(self, first_tried_at=None, next_try_at=None)

    def begun(self, at: float) -> Delivery:
        """A try has started."""
        first = at if self.first_tried_at is None else self.first_tried_at
        return replace(self, tries=self.tries + 1, first_tried_at=first, next_try_at=None)

    def answered(self, status: int, at: float) -> Delivery:
        """The current try was answered with this status."""
        answered = replace(self, last_status=status, last_error=None)
        if 200 <= status < 300:
            return replace(answered, state=DeliveryState.DELIVERED, finished_at=at)
        return answered._given_up(at) if answered.is_unwanted else answered._failed(at)

    def unanswered(self, why: str, at: float) -> Delivery:
        """The current try got no response."""
        return replace(self, last_status=None, last_error=why)._failed(at)

    def abandoned(self, why: str, at: float) -> Delivery:
        """It is not tried again, for reasons of our own."""
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
    """The latest deliveries of each owner, with their current state."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, OrderedDict[str, Delivery]] = OrderedDict()

    def add(self, delivery: Delivery) -> Sequence[Delivery]:
        """Add a new delivery. Returns the oldest, which are dropped for it, if there are more than KEPT, or more than
        OWNERS_MAX owners."""
        page = self._owners.setdefault(delivery.owner, OrderedDict())
        self._owners.move_to_end(delivery.owner)
        page[delivery.id] = delivery
        dropped = [page.popitem(last=False)[1]] if len(page) > KEPT else []
        if len(self._owners) > OWNERS_MAX:
            _, oldest = self._owners.popitem(last=False)
            dropped.extend(oldest.values())
        return dropped

    def find(self, owner: str, delivery_id: str) -> Delivery | None:
        """A delivery to this owner. None: it was not added, or dropped since."""
        return self._owners.get(owner, OrderedDict()).get(delivery_id)

    def update(self, delivery: Delivery) -> None:
        """Update a delivery that was added. Ignored if it was dropped since."""
        page = self._owners.get(delivery.owner)
        if page is not None and delivery.id in page:
            page[delivery.id] = delivery

    def latest(self, seen: Callable[[str], bool]) -> list[Delivery]:
        """The latest KEPT deliveries, newest first, of all owners for which `seen` returns true."""
        pages = [reversed(page.values()) for owner, page in self._owners.items() if seen(owner)]
        deliveries = (delivery for page in pages for delivery in page)
        return sorted(deliveries, key=lambda delivery: delivery.created_at, reverse=True)[:KEPT]
