"""Calls the API through the load balancer, and checks that each failure says when to try again."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import Any

import aiohttp

from tests.chaos.ledger import Ledger
from tests.chaos.scripted_client import ApiCaller

PATIENCE = 45.0
"""Seconds for one try: a client may ask to wait for 20, and a frozen replica never answers."""
PAUSE_MAX = 1.0
PROMISE = "failures say when to try again"


class CheckedCaller(ApiCaller):
    """Tries again until it gets an answer that is no failure and does not ask to try again: another replica refuses the
    repeated request of a client while the claim that a dead one had to its key lasts."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        super().__init__(url)
        self._ledger = ledger
        self.answers = Counter[int]()
        """By status."""
        self.broken = 0
        """Connections that ended without an answer, as those of a replica that is killed."""

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as http:
            while True:
                pause = 0.1
                try:
                    async with http.request(method, self._url + path, json=body, headers=headers) as answer:
                        self.answers[answer.status] += 1
                        says_when = "Retry-After" in answer.headers
                        if answer.status < HTTPStatus.BAD_REQUEST or not (says_when or _is_failure(answer.status)):
                            return answer.status, await answer.json()
                        if not says_when:
                            self._ledger.breaks(PROMISE, f"{method} {path}: {answer.status} {await answer.text()}")
                        pause = min(float(answer.headers.get("Retry-After", pause)), PAUSE_MAX)
                except (aiohttp.ClientError, TimeoutError):
                    self.broken += 1
                await asyncio.sleep(pause)


def _is_failure(status: int) -> bool:
    """Whether an answer with this status must say when to try again."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
