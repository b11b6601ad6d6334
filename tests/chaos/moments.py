"""The moments at which a run may be disturbed, over the whole life of a session.

Those in which a call to LiveKit is held are the most valuable: the call is cut off before LiveKit gets it (`sent`), or
LiveKit has done what it says and the session manager never learns of it (`answered`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.chaos.happenings import Facts, Moment

WRITE = "UpdateRoomMetadata"


def _progress(name: str) -> Callable[[Facts], bool]:
    """Whether a status says that a service has come so far."""
    return lambda facts: any(name in service for service in facts["status"]["progress"]["services"])


def _is_record(facts: Facts) -> bool:
    return str(facts["agent_name"]).endswith("/record")


def _is_later(facts: Facts) -> bool:
    return bool(facts["attempt"] > 1)


def _is_ready(facts: Facts) -> bool:
    return bool(facts["status"]["state"] == "ready")


def _is_over(facts: Facts) -> bool:
    return facts["status"].get("reason") is not None


def _is_replaced(facts: Facts) -> bool:
    return any(service["attempt"] > 1 for service in facts["status"]["progress"]["services"])


def _around(kind: str, call: str, where: Callable[[Facts], bool] | None = None, most: int = 3) -> Iterator[Moment]:
    """Before LiveKit gets a call, and before its answer is known."""
    for end in ("sent", "answered"):
        yield Moment(kind, f"{call} {end}", where or (lambda _: True), holds=True, most=most)


MOMENTS = (
    Moment("create", "session requested"),
    *_around("create", "CreateRoom"),
    Moment("create", "session acknowledged"),
    Moment("invite", "invite received", holds=True),
    Moment("invite", "invite received"),
    Moment("accept", "invite answered"),
    *_around("accept", WRITE, _progress("accepted")),
    Moment("join", "service joined"),
    *_around("join", WRITE, _progress("joined")),
    Moment("ready", "ready sent"),
    Moment("ready", "ready acknowledged", most=3),
    *_around("ready", WRITE, _is_ready, most=2),
    Moment("token", "token received", most=3),
    Moment("token", "token renewed", most=1),
    Moment("token", "user joined", most=2),
    Moment("token", "guest admitted", most=1),
    Moment("replacement", "service failed", most=1),
    *_around("replacement", "CreateDispatch", _is_record, most=1),
    *_around("replacement", "DeleteDispatch", most=1),
    *_around("replacement", WRITE, _is_replaced, most=2),
    Moment("replacement", "invite received", _is_later, holds=True, most=1),
    Moment("replacement", "invite received", _is_later, most=1),
    Moment("delete", "end requested", most=2),
    *_around("delete", WRITE, _is_over, most=2),
    *_around("delete", "DeleteRoom", most=2),
    Moment("delete", "session end received", holds=True, most=2),
    Moment("delete", "end acknowledged", most=2),
    Moment("callback", "callback received", holds=True),
    Moment("callback", "callback answered"),
)
DURING_RECOVERY = (
    *_around("recovery", "ListDispatch", most=2),
    *_around("recovery", "ListParticipants", most=2),
    *_around("recovery", "CreateDispatch", most=2),
    *_around("recovery", WRITE, most=2),
    *_around("recovery", "RemoveParticipant", most=1),
)
"""A second strike, which hits the process that recovers from the first."""
