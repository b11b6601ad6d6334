"""Identities and invite ids: the same for every process that computes them, different for everything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.session.identities import READABLE, Identities

pytestmark = pytest.mark.unit

NAMES = Identities("secret")
IDENTITY_MAX = 256
"""LiveKit's limit for a name, in characters."""


def test_identities_are_the_same_in_every_process_and_release() -> None:
    """A process that takes a session over computes them again."""
    assert NAMES.manager("s1", 1) == "sm-manager-1-yuuoi7fy"
    assert NAMES.service("s1", 0, "asr-service", 1) == "sm-asr-service-1-h2ixm27g"
    assert NAMES.invite("s1", 0, 1) == "inv_bpyzqmoh7sruutpk3qvnuoyayj"


def test_an_identity_has_the_plain_characters_of_the_service_id() -> None:
    assert NAMES.service("s1", 0, "Speech (EU) v1.2_b-c/ä", 1).startswith("sm-SpeechEUv1.2_b-c-1-")


def test_every_session_entry_and_attempt_has_its_own_identity() -> None:
    """Ten sessions of five entries and five attempts each, and their managers."""
    sessions, entries, attempts = [f"s{n}" for n in range(10)], range(5), range(1, 6)
    identities = {NAMES.service(s, e, "asr", a) for s in sessions for e in entries for a in attempts}
    invites = {NAMES.invite(s, e, a) for s in sessions for e in entries for a in attempts}
    managers = {NAMES.manager(s, a) for s in sessions for a in attempts}
    assert (len(identities), len(invites), len(managers)) == (250, 250, 50)
    assert not identities & managers


def test_a_service_called_manager_is_not_taken_for_the_manager() -> None:
    """Its identity looks alike and is another."""
    assert NAMES.service("s1", 0, "manager", 1) != NAMES.manager("s1", 1)


def test_another_secret_gives_other_identities() -> None:
    """Without the secret an invite can't be guessed."""
    other = Identities("another secret")
    assert other.invite("s1", 0, 1) != NAMES.invite("s1", 0, 1)
    assert other.manager("s1", 1) != NAMES.manager("s1", 1)


def test_an_invite_id_can_not_be_guessed() -> None:
    """130 bits that have nothing in common with the next one's."""
    one, two = NAMES.invite("s1", 0, 1), NAMES.invite("s1", 0, 2)
    assert re.fullmatch(r"inv_[a-z2-7]{26}", one)
    assert sum(a == b for a, b in zip(one[4:], two[4:], strict=True)) < 10


@settings(max_examples=200, derandomize=True)
@given(service_id=st.text(max_size=300), attempt=st.integers(1, 10**6))
def test_an_identity_is_plain_short_and_marked_as_ours(service_id: str, attempt: int) -> None:
    """Whatever the name of the service: letters, digits, dots, dashes and underscores after `sm-`."""
    identity = NAMES.service("01JB0000000000000000000000", 0, service_id, attempt)
    assert re.fullmatch(r"sm-[A-Za-z0-9_.-]+", identity)
    assert len(identity) <= READABLE + 30 < IDENTITY_MAX
