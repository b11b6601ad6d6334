"""API keys: generate them, parse the setting API_KEYS, and find a key's entry.

The server stores only the digest of a key. `API_KEYS` has one entry per key, separated by commas: `name:sha256`, or
`name:sha256:scope+scope` for a key with other scopes than DEFAULT_SCOPES.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from http_api.access.principals import Scope
from manager_agent.comma_list import read_list

PREFIX = "sm_"
KEY_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
RESERVED = frozenset({"dev", "livekit"})
"""Names of callers without an API key, which no key may have."""
DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
DEFAULT_SCOPES = frozenset({Scope.SESSIONS, Scope.SERVICES})


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What the server knows about a key. `str()` is its entry in API_KEYS."""

    name: str
    """The name of the caller."""
    digest: str = field(repr=False)
    """digest_of() the key. It also signs the callbacks to the caller, so it is a secret too."""
    scopes: frozenset[Scope] = DEFAULT_SCOPES

    def __str__(self) -> str:
        entry = f"{self.name}:{self.digest}"
        return entry if self.scopes == DEFAULT_SCOPES else f"{entry}:{'+'.join(sorted(self.scopes))}"


def new_key() -> str:
    """Generate a random key."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(key: str) -> str:
    """SHA-256 in hexadecimal. A slow hash would not protect better: a key has as much entropy as the digest has
    bits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_api_keys(text: str) -> tuple[KeyEntry, ...]:
    """Parse API_KEYS. Raises ValueError with the number of the invalid entry and nothing of its content."""
    names, digests = set(), set()

    def read(text: str) -> KeyEntry:
        entry = _read_entry(text)
        if entry.name in names or entry.digest in digests:
            raise ValueError("repeats the name or the key of an earlier entry")
        names.add(entry.name)
        digests.add(entry.digest)
        return entry

    return read_list(text, read)


def entry_of(entries: Sequence[KeyEntry], key: str) -> KeyEntry | None:
    """The entry of this key; None when there is none. Takes constant time however close the key is to a valid one."""
    digest, found = digest_of(key), None
    for entry in entries:
        if hmac.compare_digest(entry.digest, digest):
            found = entry
    return found


def _read_entry(text: str) -> KeyEntry:
    name, _, rest = text.partition(":")
    digest, has_scopes, scopes = rest.partition(":")
    if not NAME.fullmatch(name):
        raise ValueError("should begin with a name of at most 63 letters, digits, '_', '.' or '-'")
    if name.lower() in RESERVED:
        raise ValueError(f"has a reserved name ({', '.join(sorted(RESERVED))})")
    if not DIGEST.fullmatch(digest):
        raise ValueError("should have the SHA-256 of the key, 64 hexadecimal digits, after the name and ':'")
    if not has_scopes:
        return KeyEntry(name, digest.lower())
    try:
        return KeyEntry(name, digest.lower(), frozenset(Scope(scope) for scope in scopes.split("+")))
    except ValueError:
        raise ValueError(f"has an unknown scope (known: {', '.join(Scope)})") from None
