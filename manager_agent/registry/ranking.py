"""Service ids by rank, less being better, and those of equal rank in random order.

PURE: the random generator is passed in. To change one and to find the best take as long among many as among few.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter

from manager_agent.registry.instances import Rank


class Ranking:
    def __init__(self) -> None:
        self._ranks: list[Rank] = []
        """Each once, sorted."""
        self._ids: dict[Rank, list[str]] = {}
        self._places: dict[str, tuple[Rank, int]] = {}
        """The rank of each id, and its position among those of that rank."""

    def __iter__(self) -> Iterator[tuple[Rank, Sequence[str]]]:
        """Each rank with its ids, the best first."""
        return ((rank, self._ids[rank]) for rank in self._ranks)

    def put(self, service_id: str, rank: Rank | None) -> None:
        """Give the id this rank; None: leave it out."""
        place = self._places.get(service_id)
        if place is not None:
            if place[0] == rank:
                return
            self._leave(service_id, *place)
        if rank is not None:
            self._enter(service_id, rank)

    def _enter(self, service_id: str, rank: Rank) -> None:
        if rank not in self._ids:
            insort(self._ranks, rank)
            self._ids[rank] = []
        ids = self._ids[rank]
        self._places[service_id] = rank, len(ids)
        ids.append(service_id)

    def _leave(self, service_id: str, rank: Rank, position: int) -> None:
        ids = self._ids[rank]
        last = ids.pop()
        if last != service_id:  # it takes the place that is free now
            ids[position] = last
            self._places[last] = rank, position
        del self._places[service_id]
        if not ids:
            del self._ids[rank], self._ranks[bisect_left(self._ranks, rank)]


def best_first(rankings: Iterable[Ranking], chance: random.Random) -> Iterator[str]:
    """The ids in all of these. What is not taken costs nothing; take no more once a ranking has changed."""
    for _, equal in groupby(merge(*rankings, key=itemgetter(0)), key=itemgetter(0)):
        yield from _in_random_order([ids for _, ids in equal], chance)


def _in_random_order(lists: Sequence[Sequence[str]], chance: random.Random) -> Iterator[str]:
    """What is in these lists: Fisher and Yates' shuffle, step by step, which notes what it would move."""
    moved = dict[int, int]()
    for left in range(sum(map(len, lists)), 0, -1):
        at = chance.randrange(left)
        yield _nth(lists, moved.get(at, at))
        moved[at] = moved.get(left - 1, left - 1)


def _nth(lists: Sequence[Sequence[str]], nth: int) -> str:
    for one in lists:
        if nth < len(one):
            return one[nth]
        nth -= len(one)
    raise IndexError(nth)
