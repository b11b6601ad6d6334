"""Streams that follow a session: told together while they keep up, each by its own task where it has to act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from http_api.models.rendered import RenderedSessions
from http_api.streams.event_stream import event_of
from http_api.streams.followers import AT_ONCE, SessionFollowers
from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.waits import let_others_run

pytestmark = pytest.mark.unit

READY = [*given.managed(), *given.invited(0), given.seen("sm-asr-1", "PA_1", START + 1)]


class ReadStream:
    """A stream whose client keeps up, until it is slow or gone. What is sent is kept by how it was sent."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self._then = then
        self.own: list[str] = []
        """Revisions that its own task has sent."""
        self.together: list[bytes] = []
        """Events that were written to it together with others."""
        self.is_slow = self.is_gone = False

    async def send(self, data: str, *, id: str) -> None:
        if self.is_gone:
            raise ConnectionResetError
        self.own.append(id)

    def send_now(self, event: bytes) -> bool:
        if self.is_gone:
            raise ConnectionResetError
        if self.is_slow:
            return False
        self.together.append(event)
        if self._then is not None:
            self._then()
        return True


class Followed:
    """A session with streams that follow it."""

    def __init__(self) -> None:
        self._at = 1
        self.store, self.rendered = MemoryStore(lambda: START), RenderedSessions()
        self.followers = SessionFollowers(self.store, self.rendered)
        self.store.listen(self.rendered.follow)
        self.store.listen(self.followers.tell)

    async def begin(self, *streams: ReadStream, seen: str | None = None) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.followers.follow(stream, "s1", seen)) for stream in streams]
        await let_others_run()
        return tasks

    async def happens(self) -> None:
        """One more change that clients see: the user comes, or goes."""
        self._at += 1
        sid = f"PA_{self._at // 2}"
        is_here = self._at % 2
        await self.store.change("s1", (given.left if is_here else given.seen)("alice", sid, START + self._at))

    @property
    def now(self) -> Session:
        return self.store.get("s1")

    @property
    def waiting(self) -> int:
        """How many streams wait for the next change."""
        return sum(map(len, self.followers._waiting.values()))

    @property
    def event(self) -> bytes:
        return event_of(self.rendered.of(self.now), id=str(self.now.revision))


@pytest.fixture
async def followed() -> Followed:
    followed = Followed()
    await followed.store.add(given.after(given.a_session(given.JOINS), *READY))
    return followed


def revision_of(event: bytes) -> int:
    return int(event.partition(b"\r\n")[0].removeprefix(b"id: "))


async def test_a_change_is_written_to_all_who_keep_up_in_no_turn_of_their_own(followed: Followed) -> None:
    streams = [ReadStream() for _ in range(3)]
    tasks = await followed.begin(*streams)
    first = str(followed.now.revision)
    await followed.happens()
    await let_others_run()
    assert [(stream.own, stream.together) for stream in streams] == 3 * [([first], [followed.event])]
    assert streams[0].together[0] is streams[1].together[0] is streams[2].together[0]
    assert not any(task.done() for task in tasks)
    assert followed.waiting == 3


async def test_changes_that_follow_one_another_immediately_are_one_event(followed: Followed) -> None:
    stream = ReadStream()
    await followed.begin(stream)
    for _ in range(9):
        await followed.happens()
    await let_others_run()
    assert stream.together == [followed.event]


async def test_a_change_that_clients_do_not_see_is_no_event(followed: Followed) -> None:
    stream, revision = ReadStream(), followed.now.revision
    await followed.begin(stream)
    await followed.store.change("s1", ev.WebhookArrived(START))
    await let_others_run()
    assert (followed.now.revision, stream.together, stream.own) == (revision, [], [str(revision)])


async def test_a_slow_client_is_sent_the_newest_state_by_its_own_task(followed: Followed) -> None:
    slow, other = ReadStream(), ReadStream()
    await followed.begin(slow, other, seen=str(followed.now.revision))
    slow.is_slow = True
    await followed.happens()
    await let_others_run()
    assert (slow.own, slow.together) == ([str(followed.now.revision)], [])
    assert (other.own, other.together) == ([], [followed.event])
    slow.is_slow = False
    await followed.happens()
    await let_others_run()
    assert slow.together == [followed.event]


async def test_a_client_that_is_gone_ends_its_own_stream_only(followed: Followed) -> None:
    gone, other = ReadStream(), ReadStream()
    ended, going_on = await followed.begin(gone, other)
    gone.is_gone = True
    await followed.happens()
    await let_others_run()
    with pytest.raises(ConnectionResetError):
        await ended
    assert other.together == [followed.event]
    assert not going_on.done()


async def test_followers_are_told_of_the_newest_state_when_it_changes_meanwhile(followed: Followed) -> None:
    """Each gets what is new when it is its turn, in order, and the newest in the end."""
    changed = asyncio.Event()
    streams = [ReadStream(changed.set) for _ in range(3 * AT_ONCE)]
    await followed.begin(*streams)

    async def change_again() -> None:
        await changed.wait()
        await followed.happens()

    changing = asyncio.create_task(change_again())
    await followed.happens()
    await changing
    await let_others_run()
    await let_others_run()
    told = [[revision_of(event) for event in stream.together] for stream in streams]
    assert all(revisions == sorted(set(revisions)) for revisions in told)
    assert {revisions[-1] for revisions in told} == {followed.now.revision}
    assert len({len(revisions) for revisions in told}) == 2


async def test_followers_of_other_sessions_are_not_told(followed: Followed) -> None:
    other = replace(given.a_session(given.JOINS), session_id="s2", room_name="another")
    await followed.store.add(other)
    stream = ReadStream()
    await followed.begin(stream)
    await followed.store.change("s2", given.created()[0])
    await let_others_run()
    assert stream.together == []


async def test_a_stream_ends_with_the_last_state_of_its_session(followed: Followed) -> None:
    stream = ReadStream()
    (task,) = await followed.begin(stream, seen=str(followed.now.revision))
    await followed.store.change("s1", ev.SessionClosed(START))
    await task
    assert (stream.own, stream.together) == ([str(followed.now.revision)], [])
    assert followed.waiting == 0


async def test_a_stream_ends_when_its_session_is_removed(followed: Followed) -> None:
    (task,) = await followed.begin(ReadStream())
    await followed.store.remove("s1")
    await task
    assert followed.waiting == 0


async def test_all_streams_end_once_they_have_sent_the_current_state(followed: Followed) -> None:
    """One that begins later too, and one that was not told yet."""
    stream, late = ReadStream(), ReadStream()
    (task,) = await followed.begin(stream, seen=str(followed.now.revision))
    await followed.happens()
    followed.followers.end()
    await task
    await followed.followers.follow(late, "s1", None)
    assert stream.own == late.own == [str(followed.now.revision)]
    assert stream.together == []


async def test_a_stream_that_is_cancelled_leaves_nothing_behind(followed: Followed) -> None:
    stream = ReadStream()
    (task,) = await followed.begin(stream)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert followed.waiting == 0
    await followed.happens()
    await let_others_run()
    assert stream.together == []


async def test_a_session_that_cannot_be_shown_breaks_its_streams_only(followed: Followed) -> None:
    await followed.store.add(
        replace(given.a_session(given.JOINS), session_id="odd", room_name="odd", metadata=JsonObject(b"\xff"))
    )
    odd = asyncio.create_task(followed.followers.follow(ReadStream(), "odd", str(followed.store.get("odd").revision)))
    stream = ReadStream()
    (task,) = await followed.begin(stream)
    for event in READY:
        await followed.store.change("odd", event)
    await followed.happens()
    await asyncio.wait({odd})
    assert isinstance(odd.exception(), ValueError)
    await let_others_run()
    assert stream.together == [followed.event]
    assert not task.done()
