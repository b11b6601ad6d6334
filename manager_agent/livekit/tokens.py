"""Creates and verifies join tokens.

Least privilege: a token is valid for one identity in one room, only as long as that participant is awaited, and grants
no right to create, list, record or administer rooms. Participants already in the room stay when their token expires.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from manager_agent.clock import Clock
from manager_agent.dated_claims import verified_claims
from manager_agent.livekit.jws import JwtSigner, unverified_claims
from manager_agent.livekit.listed_room import join_mark
from manager_agent.session.deadlines import invite_deadline, join_deadline
from manager_agent.session.presence_transitions import AGENT_NAME_ATTRIBUTES
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session, User
from manager_agent.session.trespassers import SESSION_ATTRIBUTE
from manager_agent.store.room_names import LEEWAY
from manager_agent.ulids import new_ulid

USER_SLACK = 60
"""Seconds added to the time that a human has to join: TokenSource clients drop a token 60 s before it expires."""
TOKEN_BYTES_MAX = 40 * 1024
"""Room for 16 KiB of metadata and 8 KiB of attributes with little to escape. livekit-server itself takes a request head
of 1 MiB; proxies before it often need a higher limit than their own (docs/api.md)."""
BACKDATED = 60
"""Seconds by which tokens are valid before they are made: the verifier's clock may be behind."""
CONNECTING = 2.0
"""Seconds that a client may take to connect: what it does with a token until a minute before its expiry succeeds."""
SERVICE_SLACK = 60
"""Seconds added to the time that a service has to join, for differences between clocks."""
MANAGER_LIFETIME = 600
"""Seconds. A manager that does not join within half a minute is replaced. One in the room gets new tokens from LiveKit,
which last as long as this one."""
MANAGER_NAME = "session manager"
"""The participant name of every manager."""


class Grant(StrEnum):
    """A permission of a human in the room."""

    CAN_PUBLISH = "can_publish"
    CAN_SUBSCRIBE = "can_subscribe"
    CAN_PUBLISH_DATA = "can_publish_data"
    CAN_PUBLISH_SOURCES = "can_publish_sources"
    """Limits `can_publish` to some kinds of tracks."""
    CAN_UPDATE_OWN_METADATA = "can_update_own_metadata"
    """Includes its name and attributes."""


EVERY_GRANT = tuple(Grant)
CLAIMS = {grant: re.sub("_([a-z])", lambda found: found[1].upper(), grant) for grant in Grant}
"""The name of each grant in a token: `canPublish` for `can_publish`."""
USUAL = (Grant.CAN_PUBLISH, Grant.CAN_SUBSCRIBE, Grant.CAN_PUBLISH_DATA)
"""The default permissions of a human."""


class TokenTooLong(Exception):
    """The participant's metadata, attributes and name do not fit into a join token."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the metadata, attributes and names make a join token of {size} bytes; at most {TOKEN_BYTES_MAX} are "
            "possible, because clients send it in a URL"
        )


class InvalidToken(Exception):
    """Not a join token of this LiveKit deployment, or an expired one."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    jwt: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Joiner:
    """The participant identity and room of a join token."""

    identity: str
    room_name: str


class Tokens:
    def __init__(
        self,
        key: str,
        secret: str,
        *,
        user_grants: Collection[Grant] = EVERY_GRANT,
        livekit_clock: Clock = time.time,
    ) -> None:
        """`user_grants`: the maximum that a human may be granted. `livekit_clock`: the time that LiveKit compares
        tokens with."""
        self._key, self._secret, self._signer = key, secret, JwtSigner(secret)
        self._user_grants = frozenset(user_grants)
        self._usual = self._granted({})
        self._livekit_clock = livekit_clock

    def for_human(self, session: Session, human: User, now: float) -> AccessToken:
        """A token for the session's user, or for an additional human in its room. It lasts as long as its holder can
        rely on the session, and the minute that clients subtract."""
        metadata = human.metadata
        if metadata is None:
            metadata = session.metadata.text if session.metadata else ""
        claims = {
            "name": human.name,
            "metadata": metadata,
            "attributes": {**human.attributes, SESSION_ATTRIBUTE: session.session_id},
            "video": {
                "roomJoin": True,
                "room": session.room_name,
                **(self._granted(human.grants) if human.grants else self._usual),
            },
        }
        usable = math.floor(join_deadline(session, now) - now - CONNECTING)
        # At least a second: a client may refuse a fresh token that it considers expired.
        return self._signed(human.identity, claims, max(usable, 1) + USER_SLACK)

    def for_service(self, session: Session, service: RequiredService, now: float) -> AccessToken:
        """A token for the current attempt of a service, invited at `now`."""
        assert service.identity is not None
        grants = dict.fromkeys((*USUAL, Grant.CAN_UPDATE_OWN_METADATA), True)  # it may signal by an attribute
        claims = {
            "name": service.service_id,
            "kind": "agent",
            "attributes": {SESSION_ATTRIBUTE: session.session_id},
            "video": {"roomJoin": True, "room": session.room_name, **_claims_of(grants)},
        }
        lifetime = math.ceil(max(invite_deadline(session, now) - now, 0)) + SERVICE_SLACK
        return self._signed(service.identity, claims, lifetime)

    def for_manager(self, session: Session, identity: str, agent_name: str) -> AccessToken:
        """A token for the session's manager: the one that it would get with a job from LiveKit."""
        may_not = dict.fromkeys((Grant.CAN_PUBLISH, Grant.CAN_UPDATE_OWN_METADATA), False)
        grants = dict.fromkeys((Grant.CAN_SUBSCRIBE, Grant.CAN_PUBLISH_DATA), True) | may_not
        claims = {
            "name": MANAGER_NAME,
            "kind": "agent",
            "attributes": dict.fromkeys(AGENT_NAME_ATTRIBUTES, agent_name),
            "video": {"roomJoin": True, "room": session.room_name, "agent": True, "hidden": True, **_claims_of(grants)},
            **_marking(session.session_id),
        }
        return self._signed(identity, claims, MANAGER_LIFETIME)

    def marked(self, livekits: str, session_id: str) -> str:
        """The token that LiveKit gave to the session's manager with its job, marking a room that the join makes."""
        claims = unverified_claims(livekits) | {"iss": self._key} | _marking(session_id)
        return self._signer.signed(msgspec.json.encode(claims))

    def latest_expiry(self, session: Session, now: float) -> float:
        """The latest instant, by LiveKit's time, at which a token of this session that was given out until `now` may
        expire."""
        limits = session.limits
        human = max(limits.user_join_timeout, limits.user_rejoin_timeout) + USER_SLACK
        service = max(session.ready_deadline - now, limits.replacement_timeout) + SERVICE_SLACK
        return self._livekit_clock() + (max(human, service) if session.services else human)

    def joiner(self, token: str) -> Joiner:
        """Verify a join token. Returns its identity and room. Raises InvalidToken."""
        try:
            claims = verified_claims(
                token,
                self._secret,
                ["HS256"],
                now=self._livekit_clock(),
                leeway=LEEWAY,
                require=["exp"],
                issuer=self._key,
            )
        except Exception as error:  # the JWT library lets errors of the JSON parser through
            raise InvalidToken("the token is not signed by this deployment or has expired") from error
        match claims:
            case {"sub": str(identity), "video": {"roomJoin": True, "room": str(room)}} if identity and room:
                return Joiner(identity, room)
        raise InvalidToken("the token is no join token")

    def can_hide(self, human: User) -> bool:
        """Whether the holder of this human's token can change the attribute that names its session."""
        changes_own = Grant.CAN_UPDATE_OWN_METADATA
        return changes_own in self._user_grants and bool(human.grants.get(changes_own))

    def _granted(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The grants of a human, as claims. The USUAL ones are always explicit: LiveKit allows those that are left
        out."""
        granted = {g: asked.get(g, g in USUAL) if g in self._user_grants else False for g in EVERY_GRANT}
        return _claims_of({grant: value for grant, value in granted.items() if value or grant in USUAL})

    def _signed(self, identity: str, claims: Mapping[str, Any], lifetime: int) -> AccessToken:
        """Sign the claims that are not empty, like livekit-api's `AccessToken`, but with our clock and a unique id."""
        now = int(self._livekit_clock())  # JWTs have whole seconds
        payload = {
            **{name: value for name, value in claims.items() if value},
            "iss": self._key,
            "sub": identity,
            "jti": new_ulid(now),
            "nbf": now - BACKDATED,
            "exp": now + lifetime,
        }
        token = self._signer.signed(msgspec.json.encode(payload))
        if len(token) > TOKEN_BYTES_MAX:
            raise TokenTooLong(len(token))
        return AccessToken(token, now + lifetime)


def _marking(session_id: str) -> dict[str, Any]:
    """The claim that marks a room which LiveKit makes because the token's holder joins."""
    return {"roomConfig": {"maxParticipants": join_mark(session_id)}}


def _claims_of(grants: Mapping[Grant, Any]) -> dict[str, Any]:
    return {CLAIMS[grant]: value for grant, value in grants.items()}
