"""The events of sessions, as they are recorded and posted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manager_agent.clock import Clock
from manager_agent.outbound.deliveries import Delivery, event_id, is_event
from manager_agent.outbound.delivery_records import RecordedDelivery, put_change
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind
from manager_agent.session.session import Session
from manager_agent.store.store import Change

View = Callable[[Session], Mapping[str, Any]]
"""The session as its owner sees it, without a token."""


def event_of(session: Session, url: str, view: View, at: float) -> RecordedDelivery:
    """The event of the present state, not tried yet, with what is to be posted."""
    delivery, since = Delivery.of(session, url, at), str(int(session.state_since))
    content = {"event": delivery.event, "id": delivery.id, "createdAt": since, "session": view(session)}
    return RecordedDelivery(delivery, json.dumps(content, separators=(",", ":")))


class CallbackOutbox:
    """From a change to the changes of records that belong to it: the event that it is, in the same step. So an event is
    lost, or told of a state that was never stored, in no case. With a session that Redis has lost, the events are put
    back that it has lost with it."""

    def __init__(self, deliveries: SharedDeliveries, view: View, clock: Clock) -> None:
        self._deliveries, self._view, self._clock = deliveries, view, clock

    def __call__(self, change: Change) -> Sequence[RecordChange]:
        session, url = change.session, change.session.callback_url
        if url is None:
            return ()
        if change.before is change.after:
            return [put_change(event) for event in self._deliveries.expected(session.session_id)]
        is_unwanted = self._deliveries.is_unwanted(session.session_id)
        if change.after is None:
            return (RecordChange(Kind.DELIVERY, session.session_id, None),) if is_unwanted else ()
        if is_unwanted or not self._is_new_event(change):
            return ()
        event = event_of(session, url, self._view, self._clock())
        self._deliveries.made(event)
        return (put_change(event),)

    def _is_new_event(self, change: Change) -> bool:
        if not change.is_restored:
            return is_event(change)
        session = change.session  # its first state is no event
        is_known = self._deliveries.is_known(event_id(session), session.owner)
        return session.state_revision > 1 and not session.room.is_refused_name and not is_known
