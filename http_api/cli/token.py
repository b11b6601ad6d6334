"""`session-manager token`: what LiveKit's tokens say."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from http_api.cli import output
from http_api.cli.exits import ExitCode, Failed, failures_told
from http_api.cli.target import Dev, Json

Token = Annotated[str, typer.Argument(help="The token; `-` reads it from stdin, where no other process sees it.")]
TOKEN_MAX = 1024 * 1024
INSTANTS = {"iat": "made", "nbf": "good from", "exp": "good until"}
SIGNATURE_ONLY: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
UNVERIFIED = "The signature was not checked: that takes LIVEKIT_API_SECRET, in the environment or in .env."


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a token says, and whether it may be believed. PURE."""

    claims: Mapping[str, Any]
    is_verified: bool | None
    """None: without the secret nobody can tell."""

    def faults(self, now: float) -> list[str]:
        """What keeps it from being used at that instant."""
        exp, nbf = (self.claims.get(name) for name in ("exp", "nbf"))
        found = ["the signature is not that of LIVEKIT_API_SECRET"] if self.is_verified is False else []
        if isinstance(exp, int | float) and exp <= now:
            found.append(f"it expired {output.in_words(now - exp)} ago")
        if isinstance(nbf, int | float) and nbf > now:
            found.append(f"it is not good for another {output.in_words(nbf - now)}")
        return found

    def rows(self, now: float) -> Iterator[tuple[str, str]]:
        """Each claim, and each grant, with its value."""
        for name, value in self.claims.items():
            if name in INSTANTS and isinstance(value, int | float):
                yield f"{name} ({INSTANTS[name]})", _instant(value, now)
            elif isinstance(value, dict):
                yield from ((f"{name}.{key}", _plain(inner)) for key, inner in value.items())
            else:
                yield name, _plain(value)


def decode(token: Token = "-", dev: Dev = False, as_json: Json = False) -> None:
    """Show what a token says, and whether it can be used.

    Its signature is checked with LIVEKIT_API_SECRET if that is set, in the environment or in `.env`, and not otherwise.
    Exit code 1: it can't be used, as it has expired, is not good yet, or is signed with another secret.
    """
    with failures_told(as_json=as_json):
        text = sys.stdin.read(TOKEN_MAX) if token == "-" else token
        decoded = decoded_token(text.strip(), _secret(dev=dev))
    now = time.time()
    faults = decoded.faults(now)
    if as_json:
        output.print_json({"claims": decoded.claims, "verified": decoded.is_verified, "faults": faults})
    else:
        output.out().print(output.table("claim", "value", rows=decoded.rows(now)))
        for fault in faults:
            output.complain(fault)
        if decoded.is_verified is None:
            output.err().print(UNVERIFIED, soft_wrap=True)
    raise typer.Exit(ExitCode.NO if faults else ExitCode.FINE)


def decoded_token(token: str, secret: str | None) -> Decoded:
    """Raises Failed when it is none."""
    import jwt

    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        if secret is None:
            return Decoded(claims, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
            jwt.decode(token, secret, algorithms=["HS256"], options=SIGNATURE_ONLY)
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
        return Decoded(claims, False)
    except jwt.InvalidTokenError:
        raise Failed("that is no token: LiveKit's are JWTs, such as eyJ...") from None
    return Decoded(claims, True)


def _secret(*, dev: bool) -> str | None:
    from http_api.settings.settings import DevSettings, Settings
    from http_api.settings.sources import origins

    raw = origins(DevSettings if dev else Settings)["livekit_api_secret"].raw
    default = DevSettings.model_fields["livekit_api_secret"].default.get_secret_value() if dev else None
    return default if raw is None else raw.strip()


def _instant(seconds: float, now: float) -> str:
    try:
        at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
    away = seconds - now
    return f"{at}, {f'in {output.in_words(away)}' if away > 0 else f'{output.in_words(-away)} ago'}"


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
