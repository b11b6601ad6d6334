"""The specification of a session: what was asked for, and which instances were chosen for it.

PURE. It is kept as text in the metadata of the manager's dispatch, which LiveKit returns to the holder of the API
secret only. Together with the room's metadata (progress.py) it is all that a process needs to continue the session of
another one.

    <version>.<checksum>.<content>      content: base85 of the compressed JSON of a Specification

The version is raised when an older program could not continue a session from it; fields that it may ignore are added
without that.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable

from manager_agent.frozen import Frozen, replace
from manager_agent.frozen_json import FrozenJson
from manager_agent.json_object import EMPTY, JsonObject
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen
from manager_agent.session.participant import Guest, Presence
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Limits, Session, User

VERSION = 1
NEW_TEXT_MAX = 16 * 1024
"""Characters, when the session is opened."""
TEXT_MAX = 24 * 1024
"""Characters later: other instances may have longer addresses, and guests may come."""
JSON_MAX = 256 * 1024
"""Bytes of the uncompressed content, beyond which a text is damaged."""


class DamagedSpecification(ValueError):
    """The text is no specification, or was changed."""


class NewerSpecification(ValueError):
    """A newer version of the program has written the text."""


class SpecificationTooLong(ValueError):
    """The session can't be recorded: its metadata, attributes and names are too long."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(
            f"the metadata, attributes and names of the session take {size} characters when compressed; "
            f"at most {most} can be recorded"
        )


class SpecifiedService(Frozen):
    """A required service with the instances chosen for it."""

    requirement: Requirement
    current: Chosen
    attempt: int = 1
    """The number of the attempt with the current instance, which may not have begun yet."""
    past: tuple[Attempt, ...] = ()


class Specification(Frozen):
    """The facts of a session that are not in its room's metadata."""

    session_id: str
    room_name: str
    user: User
    created_at: float
    services: tuple[SpecifiedService, ...] = ()
    metadata: JsonObject = EMPTY
    limits: Limits = Limits()
    owner: str = ""
    shared_with: str = ""
    profile: str = ""
    callback_url: str | None = None
    traceparent: str = ""
    tracestate: str = ""
    has_guests: bool = False
    guests: tuple[str, ...] = ()
    """The identities of those to whom the token endpoint gave a token."""

    @classmethod
    def of(cls, session: Session) -> Specification:
        return cls(
            session_id=session.session_id,
            room_name=session.room_name,
            user=session.user,
            created_at=session.created_at,
            services=tuple(_specified(service) for service in session.services),
            metadata=session.metadata,
            limits=session.limits,
            owner=session.owner,
            shared_with=session.shared_with,
            profile=session.profile,
            callback_url=session.callback_url,
            traceparent=session.traceparent,
            tracestate=session.tracestate,
            has_guests=session.has_guests,
            guests=tuple(guest.identity for guest in session.guests),
        )

    def session(self) -> Session:
        """The session as it was requested, with the attempts that are over. Nothing else has happened yet."""
        return Session(
            session_id=self.session_id,
            room_name=self.room_name,
            user=self.user,
            created_at=self.created_at,
            state_since=self.created_at,
            services=tuple(
                RequiredService(one.requirement, Attempt(one.current, one.attempt), one.past) for one in self.services
            ),
            metadata=self.metadata,
            limits=self.limits,
            owner=self.owner,
            shared_with=self.shared_with,
            profile=self.profile,
            callback_url=self.callback_url,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
            has_guests=self.has_guests,
            guests=tuple(map(Guest, self.guests)),
        )

    def refuse_long(self) -> None:
        """Raise SpecificationTooLong if the session must not be opened."""
        if (size := len(self.text())) > NEW_TEXT_MAX:
            raise SpecificationTooLong(size, NEW_TEXT_MAX)

    def text(self) -> str:
        """Raises SpecificationTooLong. Past attempts are left out, oldest first, if they do not fit."""
        text = _text(self)
        if len(text) <= TEXT_MAX:
            return text
        if not any(service.past for service in self.services):
            raise SpecificationTooLong(len(text), TEXT_MAX)
        fewer = tuple(replace(service, past=service.past[(len(service.past) + 1) // 2 :]) for service in self.services)
        return replace(self, services=fewer).text()

    @classmethod
    def read(cls, text: str) -> Specification:
        """Raises DamagedSpecification, NewerSpecification."""
        version, _, rest = text.partition(".")
        if version != str(VERSION):
            if version.isdecimal() and int(version) > VERSION:
                raise NewerSpecification(f"version {version[:10]}; this program reads version {VERSION}")
            raise DamagedSpecification("no specification")
        checksum, _, content = rest.partition(".")
        if checksum != _checksum(content):
            raise DamagedSpecification("the checksum does not match")
        try:
            unpacker = zlib.decompressobj()
            raw = unpacker.decompress(base64.b85decode(content), JSON_MAX)
            if not unpacker.eof:
                raise DamagedSpecification("it is incomplete or too long")
            return _JSON.read(raw)
        except (ValueError, zlib.error) as error:
            raise DamagedSpecification(str(error)) from None

    @classmethod
    def latest(cls, texts: Iterable[str]) -> Specification:
        """The latest of those that can be read. Raises NewerSpecification, and DamagedSpecification if none can.

        The one with the most attempts and guests, which only increase: LiveKit may date a dispatch that was sent before
        another one after it.
        """
        damaged, found = DamagedSpecification("there is none"), list[Specification]()
        for text in texts:
            try:
                found.append(cls.read(text))
            except DamagedSpecification as error:
                damaged = error
        if not found:
            raise damaged
        return max(found, key=lambda one: (sum(service.attempt for service in one.services), len(one.guests)))


_JSON = FrozenJson(Specification)


def _text(specification: Specification) -> str:
    raw = _JSON.write(specification)
    content = base64.b85encode(zlib.compress(raw)).decode()
    return f"{VERSION}.{_checksum(content)}.{content}"


def _checksum(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _specified(service: RequiredService) -> SpecifiedService:
    current = service.current
    past = tuple(replace(attempt, presence=Presence()) for attempt in service.past)
    return SpecifiedService(service.requirement, current.instance, max(current.number, 1), past)
