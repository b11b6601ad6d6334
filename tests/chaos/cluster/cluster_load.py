"""Sessions that are asked for at a steady rate, each by its own client, drawn from a seed."""

from __future__ import annotations

import asyncio
import math
from random import Random

from tests.chaos.cluster.cluster_site import ClusterSite
from tests.chaos.scripted_client import ScriptedClient
from tests.chaos.scripts_of_sessions import ALONE, PAIRED, EntryScript, Failure, SessionScript

FAILURES = 0.1
"""The share of the sessions of which a service fails at first."""
STAYS = 0.1
"""The share of the sessions that last until the end of the run."""
OPENING_MAX = 10
"""How many clients may wait at a time until their users are in their rooms. More would only show that the machine is
short of CPU: then sessions are asked for more slowly."""
POLL = 0.05


class ClusterLoad:
    """`rate`: sessions a second. `most`: how many in all."""

    def __init__(self, site: ClusterSite, random: Random, rate: float, most: float = math.inf) -> None:
        self._site, self._random, self._rate, self._most = site, random, rate, most
        self._began = 0.0
        self.clients: list[ScriptedClient] = []
        self.running: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Ask for one session after the other, until this is cancelled or there were enough."""
        loop = asyncio.get_running_loop()
        due = self._began = loop.time()
        while len(self.clients) < self._most:
            while sum(client.is_opening for client in self.clients) >= OPENING_MAX:
                await asyncio.sleep(POLL)
            client = self._site.client(self._script(len(self._site.scripts)))
            self.clients.append(client)
            self.running.append(asyncio.create_task(client.run(), name=f"client {client.script.number}"))
            due = max(due + 1 / self._rate, loop.time())  # what a starved machine missed is not caught up
            await asyncio.sleep(due - loop.time())

    @property
    def rate_reached(self) -> float:
        """Sessions in a second so far."""
        return len(self.clients) / (asyncio.get_running_loop().time() - self._began)

    def _script(self, number: int) -> SessionScript:
        """A session of three services whose user joins."""
        random = self._random
        types = random.sample(list(PAIRED), k=random.randint(0, 2))
        entries = [_entry(random, (one,), one) for one in random.sample(list(ALONE), k=3 - len(types))]
        fails = random.choice(list(Failure)) if types and random.random() < FAILURES else None
        entries += [_entry(random, PAIRED[one][1], one, fails) for one in types]
        return SessionScript(
            number,
            tuple(entries),
            prefer=random.choice(("respond-async", "wait=5", "wait=20")),
            user_joins=True,
            invites_guest=random.random() < 0.1,
            renews_token=random.random() < 0.5,
            lasts=None if random.random() < STAYS else random.uniform(3.0, 12.0),
        )


def _entry(random: Random, service_ids: tuple[str, ...], name: str, fails: Failure | None = None) -> EntryScript:
    means = ALONE[name] if name in ALONE else PAIRED[name][0]
    requirement = name if name in ALONE else {"type": name}
    return EntryScript(service_ids, requirement, means, random.uniform(0.0, 0.3), fails)
