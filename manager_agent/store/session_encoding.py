"""A session as bytes, for other replicas and later versions of the program. PURE.

<version>.<JSON>      fields that have their default are left out

A new field with a default needs no new version: older programs ignore it, and lose it when they write the session.
Everything else does: a field that is needed, a default that changes, another meaning. A program leaves sessions alone
that it can't read.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from manager_agent.session.session import Session

VERSION = 1


@with_config(ConfigDict(ser_json_inf_nan="constants"))
@dataclass(frozen=True, slots=True)
class EncodedSession:
    session: Session


_ADAPTER = TypeAdapter(EncodedSession)


class UnreadableForm(ValueError):
    """The bytes are no session that this program can read. The message has nothing of what is in it."""


class NewerSession(UnreadableForm):
    """A newer version of the program has written it."""


def encode(session: Session) -> bytes:
    return b"%d.%b" % (VERSION, _ADAPTER.dump_json(EncodedSession(session), exclude_defaults=True))


def decode(form: bytes) -> Session:
    """Raises UnreadableForm, NewerSession."""
    version, _, content = form.partition(b".")
    if not version.isdigit() or len(version) > 9:
        raise UnreadableForm("it has no version")
    if int(version) > VERSION:
        raise NewerSession(f"it has version {int(version)}, and this program reads up to {VERSION}")
    try:
        return _ADAPTER.validate_json(content).session
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise UnreadableForm(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
