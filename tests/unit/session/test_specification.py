"""The text in which a session's specification is kept: it comes back whole, or says why it does not."""

from __future__ import annotations

import base64
import hashlib
import random
import string
import zlib

import pytest

from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Limits, Session, User
from manager_agent.session.specification import (
    NEW_TEXT_MAX,
    TEXT_MAX,
    DamagedSpecification,
    NewerSpecification,
    Specification,
    SpecificationTooLong,
)
from tests.unit.sessions import AGENT, JOINS, SIGNALS, START, a_session, after, created, invited, left

pytestmark = pytest.mark.unit


def a_full_session() -> Session:
    return replace(
        a_session(JOINS, SIGNALS, AGENT),
        user=User("алиса\u200d", "爱丽丝", {"a": "1"}, {"can_publish": False, "can_publish_sources": ["camera"]}, "m"),
        metadata=JsonObject.of({"topic": "天气", "deep": [{"x": None}]}),
        limits=Limits(ready_timeout=12.5, retention=7.0),
        owner="acme",
        shared_with="group",
        profile="assistant",
        callback_url="https://acme.example/hook?token=1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate="a=b",
        has_guests=True,
    )


def with_attempt_1(service: RequiredService) -> RequiredService:
    """The first attempt is recorded before it begins."""
    return replace(service, current=replace(service.current, number=1))


def a_long_session(characters: int) -> Session:
    noise = "".join(random.Random(1).choices(string.printable, k=characters))
    return replace(a_full_session(), metadata=JsonObject.of({"noise": noise}))


def test_a_specification_comes_back_whole_from_its_text() -> None:
    specification = Specification.of(a_full_session())
    assert Specification.read(specification.text()) == specification


def test_the_session_of_a_specification_has_everything_that_was_asked_for() -> None:
    session = a_full_session()
    assert Specification.of(Specification.of(session).session()) == Specification.of(session)
    invited = replace(session, services=tuple(with_attempt_1(service) for service in session.services))
    read = Specification.of(session).session()
    assert read.state_since == session.created_at
    assert replace(read, state_since=0.0) == invited


@pytest.mark.parametrize("at", [0, 3, 25, 100, -1])
def test_a_changed_text_is_damaged(at: int) -> None:
    text = Specification.of(a_full_session()).text()
    index = at % len(text)
    changed = text[:index] + ("x" if text[index] != "x" else "y") + text[index + 1 :]
    with pytest.raises(DamagedSpecification):
        Specification.read(changed)


@pytest.mark.parametrize("text", ["", "1", "1.", "1..", "{}", "1.e3b0c44298fc1c14.", "\u0661.a.b"])
def test_anything_else_is_damaged(text: str) -> None:
    with pytest.raises(DamagedSpecification):
        Specification.read(text)


def sealed(raw: bytes) -> str:
    """A text with a true checksum and this content."""
    content = base64.b85encode(zlib.compress(raw)).decode()
    return f"1.{hashlib.sha256(content.encode()).hexdigest()[:16]}.{content}"


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"session_id": 1}', b"0" * 10_000_000], ids=["empty", "list", "types", "long"]
)
def test_a_sealed_text_of_something_else_is_damaged(raw: bytes) -> None:
    with pytest.raises(DamagedSpecification):
        Specification.read(sealed(raw))


def test_a_text_that_is_too_long_says_so() -> None:
    with pytest.raises(DamagedSpecification, match=r"^it is incomplete or too long$"):
        Specification.read(sealed(b"0" * 10_000_000))


def test_a_damaged_text_says_what_is_wrong_with_it() -> None:
    with pytest.raises(DamagedSpecification, match=r"^no specification$"):
        Specification.read("something else")
    whole = sealed(b"{}")
    for text in (whole[:-1], f"{whole}.more"):
        with pytest.raises(DamagedSpecification, match=r"^the checksum does not match$"):
            Specification.read(text)


def test_a_text_of_a_newer_version_is_told_apart_from_a_damaged_one() -> None:
    with pytest.raises(NewerSpecification, match=r"^version 2; this program reads version 1$"):
        Specification.read("2.anything")
    with pytest.raises(NewerSpecification, match=r"^version 1234567890; "):
        Specification.read("12345678901.anything")


def test_fields_of_later_versions_are_ignored() -> None:
    read = Specification.read(
        sealed(b'{"session_id":"s","room_name":"r","user":{"identity":"u","mood":1},"created_at":1.0,"later":{}}')
    )
    assert read == Specification("s", "r", User("u"), 1.0)


def test_a_session_that_does_not_fit_is_refused() -> None:
    Specification.of(a_long_session(12_000)).refuse_long()
    with pytest.raises(SpecificationTooLong, match=f"take [0-9]+ characters when compressed; at most {TEXT_MAX} "):
        Specification.of(a_long_session(27_000)).text()


@pytest.mark.parametrize("most", ["NEW_TEXT_MAX", "TEXT_MAX"])
def test_a_session_fits_up_to_the_last_character(most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    specification = Specification.of(a_full_session())
    size = len(specification.text())
    write = specification.refuse_long if most == "NEW_TEXT_MAX" else specification.text
    monkeypatch.setattr(f"manager_agent.session.specification.{most}", size)
    write()
    monkeypatch.setattr(f"manager_agent.session.specification.{most}", size - 1)
    with pytest.raises(SpecificationTooLong, match=f"take {size} characters when compressed; at most {size - 1} "):
        write()


def test_a_session_may_be_longer_later_than_when_it_is_opened() -> None:
    longer = Specification.of(a_long_session(15_000))
    assert NEW_TEXT_MAX < len(longer.text()) <= TEXT_MAX
    with pytest.raises(SpecificationTooLong, match=str(NEW_TEXT_MAX)):
        longer.refuse_long()


def test_past_attempts_that_do_not_fit_are_left_out_oldest_first() -> None:
    session = a_long_session(18_500)
    service = session.services[0]
    letters = random.Random(2)
    noise = ["".join(letters.choices(string.ascii_letters, k=300)) for _ in range(32)]
    past = tuple(Attempt(Chosen(f"s{n}", "ASR", f"http://{text}/"), n + 1) for n, text in enumerate(noise))
    full = replace(session, services=(replace(service, past=past), *session.services[1:]))
    text = Specification.of(full).text()
    assert len(text) <= TEXT_MAX
    kept = Specification.read(text).services[0].past
    assert kept == past[-8:], "half of them twice"


def test_a_single_past_attempt_that_does_not_fit_is_left_out() -> None:
    noise = "".join(random.Random(2).choices(string.ascii_letters, k=5_000))
    session = a_long_session(18_500)
    past = Attempt(Chosen("s0", "ASR", f"http://{noise}/"), 1)
    full = replace(session, services=(replace(session.services[0], past=(past,)), *session.services[1:]))
    assert Specification.read(Specification.of(full).text()) == Specification.of(session)


def test_past_attempts_are_kept_without_what_was_seen_of_them_in_the_room() -> None:
    past = Attempt(JOINS.current.instance, 1, presence=Presence("PA_1", gone=("PA_0",)))
    session = a_session(replace(JOINS, past=(past,)))
    [kept] = Specification.of(session).services[0].past
    assert kept == replace(past, presence=Presence())


def test_the_latest_specification_is_the_one_with_the_most_attempts_and_guests() -> None:
    """LiveKit may have got it before an earlier one."""
    first = after(a_session(JOINS), *created(), *invited(0))
    replaced = ev.InviteStarted(START + 2, 0, 2, 1, "sm-asr-2", "inv_2", instead=JOINS.current.instance)
    second = Specification.of(after(first, left("sm-asr-1", "PA_1", START), replaced))
    assert Specification.latest([Specification.of(first).text(), second.text()]) == second
    newest_first = [replace(second, profile="new"), second]
    assert Specification.latest([one.text() for one in newest_first]) == newest_first[0]


def test_the_latest_of_damaged_texts_is_damaged_as_the_last_of_them() -> None:
    with pytest.raises(DamagedSpecification, match=r"^there is none$"):
        Specification.latest([])
    with pytest.raises(DamagedSpecification, match=r"^the checksum does not match$"):
        Specification.latest(["something else", "1.a.b"])
    whole = Specification.of(a_session())
    assert Specification.latest(["something else", whole.text()]) == whole
