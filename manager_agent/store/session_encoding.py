"""A session as bytes, for other replicas and later versions of the program. PURE.

<version>.<JSON>      fields that have their default are left out

A new field with a default needs no new version: older programs ignore it, and lose it when they write the session.
Everything else does: a field that is needed, a default that changes, another meaning. A program leaves sessions alone
that it can't read.
"""

from __future__ import annotations

from manager_agent.frozen import Frozen
from manager_agent.frozen_json import FrozenJson
from manager_agent.session.session import Session

VERSION = 1


class EncodedSession(Frozen):
    session: Session


_JSON = FrozenJson(EncodedSession)


class UnreadableForm(ValueError):
    """The bytes are no session that this program can read. The message has nothing of what is in it."""


class NewerSession(UnreadableForm):
    """A newer version of the program has written it."""


def encode(session: Session) -> bytes:
    return b"%d.%b" % (VERSION, _JSON.write(EncodedSession(session)))


def decode(form: bytes) -> Session:
    """Raises UnreadableForm, NewerSession."""
    version, _, content = form.partition(b".")
    if not version.isdigit() or len(version) > 9:
        raise UnreadableForm("it has no version")
    if int(version) > VERSION:
        raise NewerSession(f"it has version {int(version)}, and this program reads up to {VERSION}")
    try:
        return _JSON.read(content).session
    except ValueError as error:
        raise UnreadableForm(str(error)) from None
