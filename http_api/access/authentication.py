"""Finding out who is asking: an API key, a JWT signed with LiveKit's key, or one of a caller's own issuer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jwt
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from http_api.access.api_keys import KeyEntry, entry_of
from http_api.access.jwks import ALGORITHMS, KeySet
from http_api.access.principals import DEVELOPER, Principal, Scope
from http_api.errors import Forbidden, NotBelieved, Unauthorized
from http_api.models.field_types import UserIdentity
from manager_agent.clock import Clock

LEEWAY = 10.0
"""Seconds by which the clocks of those who sign may differ from ours."""
EXP_MAX = 2**53
"""What a JWT may say that is no instant any more."""
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token may be made of (RFC 6750)."""
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
        clock: Clock,
    ) -> None:
        """`is_open`: callers need no proof. `livekit_key`: LiveKit's key and secret. `jwks_url`: where the keys of the
        callers' own issuer are, if there is one."""
        self._is_open, self._api_keys, self._livekit = is_open, api_keys, livekit_key
        self._jwks = KeySet(jwks_url, clock) if jwks_url else None
        self._audience, self._issuer = jwks_audience, jwks_issuer
        self._users = f"jwks:{jwks_issuer or jwks_url}"
        """The name of the caller that owns what the issuer's users make. No API key has a name with a colon."""

    async def start(self) -> None:
        if self._jwks is not None:
            await self._jwks.start()

    async def aclose(self) -> None:
        if self._jwks is not None:
            await self._jwks.aclose()

    async def identify(self, request: web.Request) -> Principal:
        """Who is asking. Raises Unauthorized when nobody has said so in a way that can be believed, Forbidden for a
        user whose name can't be a participant's, and KeysUnavailable."""
        if self._is_open:
            return DEVELOPER
        proof = bearer(request)
        if (entry := entry_of(self._api_keys, proof)) is not None:
            return Principal(entry.name, entry.scopes)
        try:
            return await self._signed(proof)
        except jwt.ExpiredSignatureError:
            raise NotBelieved("the token has expired") from None
        except jwt.PyJWTError:
            raise NotBelieved("the key or token is not accepted") from None

    def signing_keys(self, owner: str) -> tuple[str, str]:
        """The key and the secret that sign what is sent to the caller of this name: those of its API key are the key's
        name and its SHA-256 in lower-case hexadecimal; all others get LiveKit's."""
        own = {entry.name: entry.digest for entry in self._api_keys}
        return (owner, own[owner]) if owner in own else self._livekit

    async def _signed(self, proof: str) -> Principal:
        """The caller that this JWT proves. Raises PyJWTError, Forbidden, KeysUnavailable."""
        header = jwt.get_unverified_header(proof)
        match header.get("alg"), header.get("kid"):
            case "HS256", _:
                return self._granted(proof)
            case str(algorithm), str(kid) if algorithm in ALGORITHMS and self._jwks is not None:
                return self._user(proof, await self._jwks.find(kid))
        raise jwt.InvalidAlgorithmError

    def _granted(self, proof: str) -> Principal:
        """Whoever has a JWT that is signed with LiveKit's key and secret. Raises PyJWTError."""
        key, secret = self._livekit
        claims = jwt.decode(proof, secret, ["HS256"], {"require": ["exp", "iss"]}, issuer=key, leeway=LEEWAY)
        if "sha256" in claims:
            raise jwt.InvalidTokenError("it signs the body of a webhook, and says nothing of who sends it")
        return Principal(LIVEKIT, scopes_of(claims.get("video")), expires_at=end_of(claims))

    def _user(self, proof: str, key: jwt.PyJWK) -> Principal:
        """The user that the issuer vouches for. Raises PyJWTError, Forbidden."""
        claims = jwt.decode(
            proof,
            key,
            [key.algorithm_name],
            {"require": ["exp", "aud", "sub"]},
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY,
        )
        try:
            identity = IDENTITY.validate_python(claims["sub"])
            return Principal(self._users, identity=identity, expires_at=end_of(claims))
        except ValidationError:
            raise Forbidden("the token's `sub` can't be the identity of a participant") from None


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
    """From when on a JWT with these claims, which is accepted now, is so no more. PURE."""
    return min(int(claims["exp"]), EXP_MAX) + LEEWAY


def scopes_of(grants: Any) -> frozenset[Scope]:
    """What the video grants of a LiveKit token allow here, much as on LiveKit's own server API: who may make rooms may
    make sessions, and who may administer every room too, everything. A participant's token allows nothing."""
    if not isinstance(grants, dict) or grants.get("roomCreate") is not True:
        return frozenset()
    if grants.get("roomAdmin") is True and not grants.get("room"):
        return frozenset(Scope)
    return frozenset({Scope.SESSIONS, Scope.SERVICES})


AUTHENTICATOR = web.AppKey("AUTHENTICATOR", Authenticator)
