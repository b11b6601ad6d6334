"""`session-manager token`: inspect LiveKit tokens."""

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
from http_api.cli.exits import CommandError, ExitCode, errors_reported
from http_api.cli.target import Dev, Json, as_meant

Token = Annotated[str, typer.Argument(help="The token; `-` reads stdin, which keeps it out of the process list.")]
TOKEN_MAX = 1024 * 1024
INSTANTS = {"iat": "issued", "nbf": "valid from", "exp": "valid until"}
SIGNATURE_ONLY: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
UNVERIFIED = "The signature was not checked. Set LIVEKIT_API_SECRET in the environment or in .env to check it."


@dataclass(frozen=True, slots=True)
class Decoded:
    """The claims of a token, and whether its signature is valid. PURE."""

    claims: Mapping[str, Any]
    is_verified: bool | None
    """None: not checked, as the secret is not known."""

    def faults(self, now: float) -> list[str]:
        """The reasons why the token can't be used at this instant."""
        exp, nbf = (self.claims.get(name) for name in ("exp", "nbf"))
        found = ["it is not signed with LIVEKIT_API_SECRET"] if self.is_verified is False else []
        if isinstance(exp, int | float) and exp <= now:
            found.append(f"it expired {output.format_duration(now - exp)} ago")
        if isinstance(nbf, int | float) and nbf > now:
            found.append(f"it is not valid for another {output.format_duration(nbf - now)}")
        return found

    def rows(self, now: float) -> Iterator[tuple[str, str]]:
        """Each claim and each grant with its value."""
        for name, value in self.claims.items():
            if name in INSTANTS and isinstance(value, int | float):
                yield f"{name} ({INSTANTS[name]})", _instant(value, now)
            elif isinstance(value, dict):
                yield from ((f"{name}.{key}", _plain(inner)) for key, inner in value.items())
            else:
                yield name, _plain(value)


def decode(token: Token = "-", dev: Dev = False, as_json: Json = False) -> None:
    """Show a token's claims, and whether the token can be used.

    The signature is checked only if LIVEKIT_API_SECRET is set, in the environment or in `.env`. Exit code 1: the token
    can't be used because it has expired, is not valid yet, or is signed with another secret.
    """
    with errors_reported(as_json=as_json):
        text = sys.stdin.read(TOKEN_MAX) if token == "-" else token
        decoded = decoded_token(text.strip(), _secret(dev=dev))
    now = time.time()
    faults = decoded.faults(now)
    if as_json:
        output.print_json({"claims": decoded.claims, "verified": decoded.is_verified, "faults": faults})
    else:
        output.out().print(output.table("claim", "value", rows=decoded.rows(now)))
        for fault in faults:
            output.print_error(fault)
        if decoded.is_verified is None:
            output.err().print(UNVERIFIED, soft_wrap=True)
    raise typer.Exit(ExitCode.FAILED if faults else ExitCode.OK)


def decoded_token(token: str, secret: str | None) -> Decoded:
    """Decode a token, and check its signature if the secret is given. Raises CommandError if it is no JWT."""
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
        raise CommandError("not a LiveKit token: expected a JWT, such as eyJ...") from None
    return Decoded(claims, True)


def _secret(*, dev: bool) -> str | None:
    from http_api.settings.settings import DevSettings, Settings
    from http_api.settings.sources import origins

    raw = origins(DevSettings if dev else Settings)["livekit_api_secret"].raw
    default = DevSettings.model_fields["livekit_api_secret"].default.get_secret_value() if dev else None
    return default if raw is None else as_meant("LIVEKIT_API_SECRET", raw)


def _instant(seconds: float, now: float) -> str:
    try:
        at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
    away = seconds - now
    return f"{at}, {f'in {output.format_duration(away)}' if away > 0 else f'{output.format_duration(-away)} ago'}"


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
