"""The key set of the callers' own issuer (RFC 7517): fetched, cached, and looked up by key id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from http_api.errors import KeysUnavailable
from manager_agent.clock import Clock
from manager_agent.proxy_rule import proxy_rule
from manager_agent.tasks import Tasks
from manager_agent.unreachable import why_unreachable

log = structlog.get_logger()

ALGORITHMS = frozenset(
    f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA"}  # fmt: skip
"""The signatures with a key pair (RFC 7518, RFC 8037). Each key is good for one of them: its `alg`, or the usual one of
its type."""
RSA_BITS_MIN = 2_048
FRESH = 300.0
"""Seconds for which a fetched key set is used without another fetch, unless a key is missing from it."""
PAUSE = 5.0
"""Minimum seconds between two fetches, also for different keys."""
TIMEOUT = aiohttp.ClientTimeout(total=3, connect=2)
SIZE_MAX = 64 * 1024
HEADERS = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class BadKeySet(Exception):
    """The issuer's response is not a usable key set."""


class KeySet:
    def __init__(self, url: str, clock: Clock) -> None:
        self._url, self._clock = url, clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at = -PAUSE
        self._failed = False
        """Whether the last fetch failed. While so, requests whose key is known do not wait for the next one."""
        self._tasks = Tasks()
        self._fetching: asyncio.Task[None] | None = None
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._http = aiohttp.ClientSession(
            timeout=TIMEOUT, headers=HEADERS, auto_decompress=False, proxy=proxy_rule().of(self._url)
        )

    async def aclose(self) -> None:
        await self._tasks.aclose()
        if self._http is not None:
            await self._http.close()

    async def find(self, kid: str) -> jwt.PyJWK:
        """The key with this id. Raises KeysUnavailable if no key set was ever fetched, and PyJWKSetError if the issuer
        has no such key."""
        known = kid in self._keys
        if not known or self._is_old():
            fetching, failed = self._fetch_soon(), self._failed
            if fetching is not None and not (known and failed):
                await asyncio.shield(fetching)  # shared: the request that started it may be cancelled
        if self._fetched_at is None:
            raise KeysUnavailable
        if kid not in self._keys:
            raise jwt.PyJWKSetError("the issuer has no such key")
        return self._keys[kid]

    def _is_old(self) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= FRESH

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """The running fetch, shared by all requests; None within PAUSE after the last one."""
        if self._fetching is None or self._fetching.done():
            if self._clock() - self._tried_at < PAUSE:
                return None
            self._tried_at = self._clock()
            self._fetching = self._tasks.spawn(self._fetch(), name="fetch JWKS", for_all=True)
        return self._fetching

    async def _fetch(self) -> None:
        """Replace the keys. If this fails, the earlier ones stay."""
        try:
            self._keys = read_key_set(await self._get())
        except (aiohttp.ClientError, TimeoutError, BadKeySet) as error:
            self._failed = True
            why = str(error) if isinstance(error, BadKeySet) else why_unreachable(error)
            log.warning("jwks_not_fetched", url=self._url, why=why, kept=len(self._keys))
        else:
            self._fetched_at, self._failed = self._clock(), False
            log.info("jwks_fetched", url=self._url, keys=len(self._keys))

    async def _get(self) -> bytes:
        assert self._http is not None, "start() first"
        async with self._http.get(self._url, allow_redirects=False) as answer:
            if answer.status != 200:
                raise BadKeySet(f"answered {answer.status}")
            body = b""
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > SIZE_MAX:
                    raise BadKeySet(f"has more than {SIZE_MAX} bytes")
            return body


def read_key_set(raw: bytes) -> Mapping[str, jwt.PyJWK]:
    """The usable keys by their ids: those with an id, for signatures with one of ALGORITHMS. Raises BadKeySet if there
    are none."""
    try:
        listed = json.loads(raw)["keys"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise BadKeySet("is not a JSON Web Key Set") from None
    found = map(_read_key, listed if isinstance(listed, list) else ())
    usable = {key.key_id: key for key in found if key is not None and isinstance(key.key_id, str)}
    if not usable:
        raise BadKeySet(f"has no key with a kid for {' or '.join(sorted(ALGORITHMS))}")
    return usable


def _read_key(entry: Any) -> jwt.PyJWK | None:
    """The key in an entry; None if it is not usable, because a key set may contain keys of other kinds."""
    try:
        key = jwt.PyJWK(entry)
    except Exception:  # the library also raises errors other than its own
        return None
    return key if _is_usable(key) else None


def _is_usable(key: jwt.PyJWK) -> bool:
    if key.algorithm_name not in ALGORITHMS or key.public_key_use not in (None, "sig"):
        return False
    if isinstance(key.key, RSAPublicKey):
        return key.key.key_size >= RSA_BITS_MIN
    return isinstance(
        key.key, EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
    )  # a published private key proves nothing
