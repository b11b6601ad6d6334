"""Which replica takes a session over: all replicas that know the same live ones come to the same answer. PURE."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def chosen(session_id: str, replica_ids: Iterable[str]) -> str:
    """The replica with the highest score for this session (rendezvous hashing): sessions are spread evenly, and when a
    replica comes or goes only its own sessions move. Raises ValueError if there is none."""
    return max(replica_ids, key=lambda replica_id: (_score(session_id, replica_id), replica_id))


def _score(session_id: str, replica_id: str) -> bytes:
    return hashlib.blake2b(f"{session_id} {replica_id}".encode(), digest_size=8).digest()
