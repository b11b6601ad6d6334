"""Authenticate callers: by an API key, a JWT signed with LiveKit's key, or a JWT of the callers' own issuer."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import jwt
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from http_api.access.api_keys import KeyEntry, entry_of
from http_api.access.jwks import ALGORITHMS, KeySet
from http_api.access.jwt_refusals import RefusedClaim, why_refused
from http_api.access.principals import DEVELOPER, Principal, Scope
from http_api.errors import Forbidden, NotBelieved, Unauthorized
from http_api.models.field_types import UserIdentity
from manager_agent.clock import Clock
from manager_agent.dated_claims import verified_claims

LEEWAY = 10.0
"""Seconds by which signers' clocks may differ from ours."""
EXP_MAX = 2**53
"""The largest `exp` used. Larger values are valid in a JWT but are not usable instants."""
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The syntax of a bearer token (RFC 6750)."""
LIVEKIT = "livekit"
IDENTITY: TypeAdapter[str] = TypeAdapter(UserIdentity)


class Authenticator:
    def __init__(
        self,
        *,
        is_open: bool,
        api_keys: Sequence[KeyEntry],
        livekit_key: tuple[str, str],
        jwks_url: str | None,
        jwks_audience: str | None,
        jwks_issuer: str | None,
        authorized_parties: Collection[str] = (),
        rooms_claim: str | None = None,
        clock: Clock,
        livekit_clock: Clock,
    ) -> None:
        """`is_open`: callers need no credentials. `livekit_key`: LiveKit's key and secret. `jwks_url`: the key set of
        the callers' own issuer, if there is one. `authorized_parties`: the values accepted in `azp`; any if empty.
        `rooms_claim`: the claim that lists the rooms that a user shares with other users of the issuer.
        `livekit_clock`: the time with which tokens are compared, as LiveKit compares its own."""
        self._clock, self._livekit_clock = clock, livekit_clock
        self._is_open, self._api_keys, self._livekit = is_open, api_keys, livekit_key
        self._principals = {entry.name: Principal(entry.name, entry.scopes) for entry in api_keys}
        self._jwks = KeySet(jwks_url, clock) if jwks_url else None
        self._audience, self._issuer, self._parties = jwks_audience, jwks_issuer, frozenset(authorized_parties)
        self._users = f"jwks:{jwks_issuer or jwks_url}"
        """The beginning of the caller names of the issuer's users. They can't collide with those of API keys, which
        have no colon."""
        self._rooms_claim = rooms_claim

    async def start(self) -> None:
        if self._jwks is not None:
            await self._jwks.start()

    async def aclose(self) -> None:
        if self._jwks is not None:
            await self._jwks.aclose()

    async def identify(self, request: web.Request) -> Principal:
        """The caller of the request. Raises Unauthorized without valid credentials, Forbidden for a user whose name
        can't be a participant identity, and KeysUnavailable."""
        if self._is_open:
            return DEVELOPER
        proof = bearer(request)
        if (entry := entry_of(self._api_keys, proof)) is not None:
            return self._principals[entry.name]
        try:
            return await self._signed(proof)
        except jwt.PyJWTError as error:
            raise NotBelieved(why_refused(error)) from None

    def signing_keys(self, owner: str) -> tuple[str, str]:
        """The key and secret that sign callbacks to this caller. With an API key they are its name and its SHA-256 in
        lower-case hexadecimal; otherwise LiveKit's key and secret."""
        own = {entry.name: entry.digest for entry in self._api_keys}
        return (owner, own[owner]) if owner in own else self._livekit

    async def _signed(self, proof: str) -> Principal:
        """The caller that this JWT identifies. Raises PyJWTError, Forbidden, KeysUnavailable."""
        header = jwt.get_unverified_header(proof)
        match header.get("alg"), header.get("kid"):
            case "HS256", _:
                return self._granted(proof)
            case str(algorithm), str(kid) if algorithm in ALGORITHMS and self._jwks is not None:
                return self._user(proof, await self._jwks.find(kid))
            case str(algorithm), None if algorithm in ALGORITHMS and self._jwks is not None:
                raise RefusedClaim("the token's header has no `kid`, which names the issuer's key")
        raise jwt.InvalidAlgorithmError

    def _granted(self, proof: str) -> Principal:
        """The caller with a JWT signed with LiveKit's key and secret. Raises PyJWTError."""
        key, secret = self._livekit
        now, required = self._livekit_clock(), ["exp", "iss"]
        claims = verified_claims(proof, secret, ["HS256"], now=now, leeway=LEEWAY, require=required, issuer=key)
        if "sha256" in claims:
            raise RefusedClaim(
                "the token has a `sha256`: it is a webhook's signature, which does not identify a caller"
            )
        return Principal(LIVEKIT, scopes_of(claims.get("video")), expires_at=self._end_of(claims))

    def _user(self, proof: str, key: jwt.PyJWK) -> Principal:
        """The user authenticated by the callers' issuer. Raises PyJWTError, Forbidden."""
        required = {"exp": True, "sub": True, "aud": self._audience, "iss": self._issuer, "azp": self._parties}
        claims = verified_claims(
            proof,
            key,
            [key.algorithm_name],
            now=self._livekit_clock(),
            leeway=LEEWAY,
            require=[claim for claim, wanted in required.items() if wanted],
            audience=self._audience,
            issuer=self._issuer,
        )
        if self._parties and (not isinstance(claims["azp"], str) or claims["azp"] not in self._parties):
            raise RefusedClaim("the token was given to another party: its `azp` is not in JWKS_AUTHORIZED_PARTIES")
        try:
            identity = IDENTITY.validate_python(claims["sub"])
            return Principal(
                f"{self._users}:{identity}",
                identity=identity,
                group=self._users,
                shared_rooms=rooms_of(claims.get(self._rooms_claim)) if self._rooms_claim else frozenset(),
                expires_at=self._end_of(claims),
            )
        except ValidationError as error:
            why = error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
            raise Forbidden(f"the token's `sub` is not valid as a participant identity: {why}") from None

    def _end_of(self, claims: dict[str, Any]) -> float:
        """The instant, by the process's clock, until which a JWT with these claims is accepted."""
        return end_of(claims) - (self._livekit_clock() - self._clock())


def bearer(request: web.Request) -> str:
    """The key or token in the Authorization header. Raises Unauthorized."""
    sent = request.headers.getall("Authorization", ())
    scheme, _, token = sent[0].partition(" ") if sent else ("", "", "")
    if scheme.lower() != "bearer":
        raise Unauthorized("send a key or token as Authorization: Bearer")
    if len(sent) > 1 or not TOKEN.fullmatch(token.strip()):
        raise NotBelieved("send one key or token as Authorization: Bearer")
    return token.strip()


def end_of(claims: dict[str, Any]) -> float:
    """The instant (seconds since the epoch) until which a JWT with these claims is accepted. PURE."""
    return min(int(claims["exp"]), EXP_MAX) + LEEWAY


def rooms_of(claim: Any) -> frozenset[str]:
    """The room names in the claim JWKS_ROOMS_CLAIM: a string or a list of strings. Anything else names none."""
    return frozenset(name for name in (claim if isinstance(claim, list) else [claim]) if isinstance(name, str))


def scopes_of(grants: Any) -> frozenset[Scope]:
    """The scopes for the video grants of a LiveKit token, analogous to LiveKit's server API: `roomCreate` allows
    sessions and services, and together with `roomAdmin` for all rooms it allows everything. A participant's token
    allows nothing."""
    if not isinstance(grants, dict) or grants.get("roomCreate") is not True:
        return frozenset()
    if grants.get("roomAdmin") is True and not grants.get("room"):
        return frozenset(Scope)
    return frozenset({Scope.SESSIONS, Scope.SERVICES})


AUTHENTICATOR = web.AppKey("AUTHENTICATOR", Authenticator)
