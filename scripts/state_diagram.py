"""The state diagram of a session in docs/design.md, drawn by the transitions themselves.

`python -m scripts.state_diagram` writes it.

A session with one service is taken to every state by what can happen to it, and in each of them everything that can
happen is tried: each change of state is an arrow, with what happened or, at the end, the reason.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import reduce

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.deadlines import deadline
from manager_agent.session.events import Chosen, Event, ParticipantInfo
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Limits, Session, SessionState, User
from manager_agent.session.transitions import apply
from scripts.repository import ROOT

DOCUMENT = ROOT / "docs" / "design.md"
PLACE = re.compile(r"(?<=<!-- printed by python -m scripts\.state_diagram -->\n).*?(?=<!-- end -->)", re.DOTALL)
USER = "alice"
STEP = 1_000.0
"""Seconds between what happens: more than any pause of ours."""
FINAL = (SessionState.ENDED, SessionState.FAILED)

Arrow = tuple[SessionState, SessionState]


def happenings(session: Session, at: float) -> Iterator[tuple[str, list[Event]]]:
    """What can happen to this session next, in words and as events."""
    service, room = session.services[0].current, session.room
    yield "ended by request", [ev.SessionClosed(at)]
    yield "the client is gone", [ev.SessionClosed(at, by_client_gone=True)]
    if (due := deadline(session)) is not None:
        yield "a deadline has passed", [ev.DeadlinePassed(due[0])]
    if room.created_at is None:
        made: list[Event] = [ev.RoomRequested(at), ev.ManagerDispatched(at, 1, "sm-manager-1")]
        yield "the room is made", [*made, ev.RoomCreated(at, "RM_1")]
        yield "the room is not made", [*made, ev.RoomRefused(at, taken=False)]
        return
    remade = at + STEP / 2
    again: list[Event] = [ev.RoomRequested(remade), ev.RoomCreated(remade, f"RM_{at}")]
    yield "the room is lost", [ev.RoomClosed(at, room.sid), *again]
    if session.all_ready:
        yield "a required service is lost", [ev.ParticipantLeft(at, service.identity or "", service.presence.sid or "")]
    else:
        attempt, identity = service.number + 1, f"sm-service-{service.number + 1}"
        invited: list[Event] = [
            ev.InviteStarted(at, 0, attempt, 1, identity, f"inv_{attempt}"),
            ev.InviteAccepted(at, 0, attempt, 1),
        ]
        words = "all required services are ready" + (", and the user is here" if session.someone_here else "")
        yield words, [*invited, ev.ParticipantSeen(at, ParticipantInfo(identity, f"PA_{identity}"))]
    if session.someone_here:
        yield "the user leaves", [ev.ParticipantLeft(at, USER, session.user_presence.sid or "")]
    else:
        yield "the user joins", [ev.ParticipantSeen(at, ParticipantInfo(USER, f"PA_{at}"))]


def arrows() -> dict[Arrow, list[str]]:
    """Every change of state that can happen, with what leads to it."""
    found: dict[Arrow, list[str]] = defaultdict(list)
    service = RequiredService(Requirement(service_id="service"), Attempt(Chosen("service", "ASR", "http://service/")))
    new = Session("ses", "room", User(USER), 0.0, (service,))
    expired = replace(new, limits=Limits(max_duration=1.0))  # its time is up in every state
    sessions = [(new, STEP), (expired, STEP)]
    known = {_kind(session) for session, _ in sessions}
    for session, at in sessions:  # which grows meanwhile
        for words, events in happenings(session, at):
            changed = reduce(apply, events, session)
            label = words if changed.end is None else changed.end.reason.value
            labels = found[session.state, changed.state]
            if session.state is not changed.state and label not in labels:
                labels.append(label)
            if not changed.over and _kind(changed) not in known:
                known.add(_kind(changed))
                sessions.append((changed, at + STEP))
    return {arrow: labels for arrow, labels in found.items() if labels}


def diagram() -> str:
    """The arrows in mermaid's language. Reasons that end a session in every state are drawn once."""
    found = arrows()
    running = [state for state in SessionState if state not in FINAL]
    to_end = {end: [set(found.get((state, end), ())) for state in running] for end in FINAL}
    everywhere = {end: set.intersection(*labels) for end, labels in to_end.items()}
    lines = ["stateDiagram-v2", "    [*] --> waiting"]
    for (before, after), labels in sorted(found.items(), key=lambda one: _order(one[0])):
        if own := [label for label in labels if label not in everywhere.get(after, ())]:
            lines.append(f"    {before} --> {after}: {', '.join(own)}")
    lines.append(f'    state "{", ".join(running)}" as running')
    lines += [f"    running --> {end}: {', '.join(sorted(labels))}" for end, labels in everywhere.items() if labels]
    return "\n".join(lines)


def document(text: str) -> str:
    """The document with the diagram as it is now."""
    if not PLACE.search(text):
        raise ValueError("no place for the diagram")
    return PLACE.sub(lambda _: f"```mermaid\n{diagram()}\n```\n", text)


def _kind(session: Session) -> tuple[object, ...]:
    """What matters for what may happen next."""
    times = (session.user_left_at, session.ready_at, session.room.created_at)
    has_happened = tuple(time is not None for time in times)
    return session.state, session.someone_here, has_happened, session.room.remakes, session.limits


def _order(arrow: Arrow) -> tuple[int, int]:
    states = list(SessionState)
    return states.index(arrow[0]), states.index(arrow[1])


def main() -> int:
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(document(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
