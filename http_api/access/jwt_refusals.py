"""Why a JWT is refused, as the caller is told: which claim is missing, early or wrong. PURE.

The claims are checked after the signature, so only the holder of a token that the issuer signed learns about them. The
header is read before, and says nothing that the issuer does not publish. No message shows what a claim has to be.
"""

from __future__ import annotations

import re

import jwt
from jwt.exceptions import InvalidJTIError, InvalidSubjectError

NOT_VALID = "the key or token is not valid"
"""What is said of a credential that is not signed for us, whatever is wrong with it."""
NOT_A_TIME = re.compile(r"claim \((?P<claim>exp|nbf|iat)\) must be")
"""In messages of PyJWT, which has no error of its own for each of these."""


class RefusedClaim(jwt.InvalidTokenError):
    """A claim, or part of the header, that we check ourselves is wrong. Its message is for the caller."""


def why_refused(error: jwt.PyJWTError) -> str:
    """The message for an error of the JWT library."""
    match error:
        case jwt.MissingRequiredClaimError(claim=claim):
            return f"the token has no `{claim}`"
        case jwt.ExpiredSignatureError():
            return "the token has expired: its `exp` is in the past"
        case jwt.ImmatureSignatureError():
            claim = "iat" if "iat" in str(error) else "nbf"
            return f"the token is not valid yet: its `{claim}` is in the future; compare the clocks"
        case jwt.InvalidAudienceError():
            return "the token is for another audience: its `aud` is not the one expected here (JWKS_AUDIENCE)"
        case jwt.PyJWKSetError():
            return "the issuer has no key (JWKS_URL) with the `kid` in the token's header"
        case jwt.InvalidIssuerError():
            return "the token is of another issuer: its `iss` is not the one expected here"
        case RefusedClaim():
            return str(error)
        case InvalidSubjectError():
            return "the token's `sub` is not a string"
        case InvalidJTIError():
            return "the token's `jti` is not a string"
    if (time := NOT_A_TIME.search(str(error))) is not None:
        return f"the token's `{time['claim']}` is not a number"
    return NOT_VALID
