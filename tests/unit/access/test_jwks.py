"""The keys of a caller's own issuer: fetched over real HTTP, kept in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
import pytest
from jwt.algorithms import RSAAlgorithm

from http_api.access.jwks import FRESH, PAUSE, SIZE_MAX, BadKeySet, KeySet, read_key_set
from http_api.errors import KeysUnavailable
from tests.issuer import Issuer, ec_key, jwk, key_set, rsa_key
from tests.unit.virtual_time import VirtualClock
from tests.unit.waits import let_others_run

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as issuer:
        yield issuer


@asynccontextmanager
async def fetching(issuer: Issuer, clock: VirtualClock) -> AsyncIterator[KeySet]:
    keys = KeySet(issuer.url, clock)
    await keys.start()
    try:
        yield keys
    finally:
        await keys.aclose()


@pytest.fixture
async def keys(issuer: Issuer, clock: VirtualClock) -> AsyncIterator[KeySet]:
    async with fetching(issuer, clock) as keys:
        yield keys


async def test_issuer_keys_are_fetched_at_first_use_and_then_kept(keys: KeySet, issuer: Issuer) -> None:
    assert issuer.asked == 0
    found = await asyncio.gather(*(keys.find(kid) for kid in ("rsa-1", "ec-1", "ed-1") * 50))
    assert {key.algorithm_name for key in found} == {"RS256", "ES256", "EdDSA"}
    assert issuer.asked == 1


async def test_issuer_keys_are_fetched_again_after_their_lifetime(
    keys: KeySet, issuer: Issuer, clock: VirtualClock
) -> None:
    """And a key that the issuer has withdrawn is no longer accepted."""
    await keys.find("rsa-1")
    clock.now += FRESH - 1
    del issuer.keys["rsa-1"]
    await keys.find("rsa-1")
    clock.now += 1
    with pytest.raises(jwt.PyJWKSetError):
        await keys.find("rsa-1")
    assert issuer.asked == 2


async def test_a_new_issuer_key_is_found_at_once_and_unknown_ids_are_rate_limited(
    keys: KeySet, issuer: Issuer, clock: VirtualClock
) -> None:
    await keys.find("rsa-1")
    clock.now += PAUSE
    issuer.keys["rsa-2"] = rsa_key()
    await keys.find("rsa-2")
    assert issuer.asked == 2
    made_up = await asyncio.gather(*(keys.find(f"made-up-{n}") for n in range(100)), return_exceptions=True)
    assert {type(error) for error in made_up} == {jwt.PyJWKSetError}
    assert issuer.asked == 2
    clock.now += PAUSE
    await asyncio.gather(*(keys.find(f"made-up-{n}") for n in range(100)), return_exceptions=True)
    assert issuer.asked == 3


async def test_a_cancelled_request_does_not_cancel_the_fetch_of_issuer_keys(keys: KeySet, issuer: Issuer) -> None:
    first = asyncio.create_task(keys.find("rsa-1"))
    second = asyncio.create_task(keys.find("rsa-1"))
    await let_others_run()
    first.cancel()
    assert (await second).key_id == "rsa-1"
    assert issuer.asked == 1


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (500, None, {}),
        (404, None, {}),
        (302, None, {"Location": "/elsewhere"}),
        (200, b"<html>", {}),
        (200, b"[]", {}),
        (200, b"\xff", {}),
        (200, b'{"keys": 7}', {}),
        (200, b'{"keys": []}', {}),
        (200, b"[" * 60_000, {}),
        (200, b" " * (SIZE_MAX + 1), {}),
    ],
)
async def test_issuer_keys_are_kept_when_a_fetch_brings_none(
    keys: KeySet, issuer: Issuer, clock: VirtualClock, status: int, body: bytes | None, headers: dict[str, str]
) -> None:
    """A redirect counts as a failure: it could lead to the keys of an attacker."""
    await keys.find("rsa-1")
    clock.now += FRESH
    issuer.status, issuer.body, issuer.headers = status, body, headers
    assert (await keys.find("rsa-1")).key_id == "rsa-1"
    assert issuer.asked == 2


async def test_a_known_issuer_key_is_used_without_waiting_while_the_issuer_is_down(
    issuer: Issuer, clock: VirtualClock
) -> None:
    async with fetching(issuer, clock) as keys:
        await keys.find("rsa-1")
        clock.now += FRESH
        issuer.status = 503
        await keys.find("rsa-1")
        clock.now += PAUSE
        found = asyncio.create_task(keys.find("rsa-1"))
        await let_others_run()
        assert found.done()


async def test_without_any_issuer_key_requests_fail_and_the_fetch_is_repeated_later(
    keys: KeySet, issuer: Issuer, clock: VirtualClock
) -> None:
    issuer.status = 503
    for _ in range(10):
        with pytest.raises(KeysUnavailable):
            await keys.find("rsa-1")
    assert issuer.asked == 1
    issuer.status = 200
    clock.now += PAUSE
    assert (await keys.find("rsa-1")).key_id == "rsa-1"


async def test_an_issuer_that_refuses_connections_counts_as_down(clock: VirtualClock) -> None:
    async with Issuer() as issuer:
        pass
    async with fetching(issuer, clock) as keys:
        with pytest.raises(KeysUnavailable):
            await keys.find("rsa-1")


RSA, EC = rsa_key(), ec_key()
PRIVATE = json.loads(RSAAlgorithm.to_jwk(RSA))
SYMMETRIC = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "1"}


def test_issuer_keys_for_other_uses_and_of_unknown_kinds_are_ignored() -> None:
    kept = read_key_set(
        json.dumps(
            {"keys": [jwk("1", RSA), SYMMETRIC | {"kid": "2"}, {"kty": "new"}, jwk("3", RSA, alg="none"), {}, 7]}
        ).encode()
    )
    assert set(kept) == {"1"}


@pytest.mark.parametrize(
    "key",
    [
        SYMMETRIC,
        SYMMETRIC | {"alg": "HS256"},
        jwk(None, RSA),
        jwk(None, RSA) | {"kid": 7},
        jwk("1", RSA, alg="none"),
        jwk("1", RSA, use="enc"),
        jwk("1", EC, alg="RS256"),
        jwk("1", rsa_key(1_024)),
        PRIVATE | {"kid": "1"},
    ],
    ids=lambda key: f"{key.get('kty')} {key.get('alg')} {key.get('use')} {key.get('kid')}",
)
def test_issuer_keys_that_are_too_weak_are_ignored(key: dict[str, object]) -> None:
    with pytest.raises(BadKeySet):
        read_key_set(json.dumps({"keys": [key]}).encode())


def test_the_test_issuer_publishes_no_private_key() -> None:
    assert b'"d"' not in key_set({"1": RSA, "2": EC})


@pytest.mark.parametrize("algorithm", ["RS512", "PS256"])
def test_issuer_keys_are_used_with_the_algorithm_that_they_name(algorithm: str) -> None:
    (key,) = read_key_set(json.dumps({"keys": [jwk("1", RSA, alg=algorithm)]}).encode()).values()
    assert key.algorithm_name == algorithm
