"""Verifies JWTs at a given time. PyJWT compares them with the machine's wall clock, which may be wrong. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jwt

UNTIMED = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


def verified_claims(
    token: str,
    key: Any,
    algorithms: Sequence[str],
    *,
    now: float,
    leeway: float,
    require: Sequence[str] = (),
    audience: str | None = None,
    issuer: str | None = None,
) -> dict[str, Any]:
    """The claims of a token that is valid at `now`, seconds since the epoch. Raises jwt.PyJWTError."""
    options: Any = {**UNTIMED, "require": list(require)}
    claims: dict[str, Any] = jwt.decode(token, key, list(algorithms), options, audience=audience, issuer=issuer)
    for claim in ("iat", "nbf"):
        if (instant := _instant(claims, claim)) is not None and instant > now + leeway:
            raise jwt.ImmatureSignatureError(f"The token is not yet valid ({claim})")
    if (expiry := _instant(claims, "exp")) is not None and expiry <= now - leeway:
        raise jwt.ExpiredSignatureError("Signature has expired")
    return claims


def _instant(claims: dict[str, Any], claim: str) -> int | None:
    if claim not in claims:
        return None
    try:
        return int(claims[claim])
    except (ValueError, TypeError, OverflowError):
        kind = jwt.InvalidIssuedAtError if claim == "iat" else jwt.DecodeError
        raise kind(f"the claim ({claim}) must be an integer") from None
