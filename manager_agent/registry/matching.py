"""Who is given to whom: a different instance for each requirement.

PURE. It is a matching: whoever stands first does not take the only one who can meet a later requirement.
"""

from __future__ import annotations

from collections.abc import Sequence

from manager_agent.session.required_service import Requirement


def by_importance(requirements: Sequence[Requirement]) -> list[int]:
    """The indices of the requirements, in the order in which they choose: what must be there first, and of that
    what only one service can be."""
    return sorted(range(len(requirements)), key=lambda i: (requirements[i].optional, not requirements[i].service_id))


def assign(offers: Sequence[Sequence[str]], order: Sequence[int]) -> list[str | None]:
    """One of its offers for each, none twice; None for those who can't have any.

    `offers[i]` are what `i` can have, the best first; `order` says who chooses first. Who has chosen may be moved to
    another of his offers for the sake of a later one, but never loses.
    """
    holders: dict[str, int] = {}

    def give(to: int, passed: set[str]) -> bool:
        free = [offer for offer in offers[to] if offer not in holders]
        if free:
            holders[free[0]] = to
            return True
        for offer in offers[to]:
            if offer not in passed:
                passed.add(offer)
                if give(holders[offer], passed):
                    holders[offer] = to
                    return True
        return False

    for one in order:
        give(one, set())
    given = {holder: offer for offer, holder in holders.items()}
    return [given.get(i) for i in range(len(offers))]
