"""Assigns a different instance to each requirement.

PURE. A bipartite matching: an early requirement does not take the only instance that can meet a later one.
"""

from __future__ import annotations

from collections.abc import Sequence

from manager_agent.session.required_service import Requirement


def by_importance(requirements: Sequence[Requirement]) -> list[int]:
    """The indices of the requirements in the order of assignment: mandatory before optional; within each, those for one
    service id first."""
    return sorted(range(len(requirements)), key=lambda i: (requirements[i].optional, not requirements[i].service_id))


def assign(offers: Sequence[Sequence[str]], order: Sequence[int]) -> list[str | None]:
    """One offer for each requirement, none twice; None where none is left.

    `offers[i]`: the candidates of requirement `i`, best first. `order`: the order of assignment. An assigned
    requirement may be moved to another of its offers to make room for a later one, but is never left without.
    """
    holders: dict[str, int] = {}

    def place(requirement: int, visited: set[str]) -> bool:
        """Assign an offer to the requirement, moving others if necessary: an augmenting path."""
        free = [offer for offer in offers[requirement] if offer not in holders]
        if free:
            holders[free[0]] = requirement
            return True
        for offer in offers[requirement]:
            if offer not in visited:
                visited.add(offer)
                if place(holders[offer], visited):
                    holders[offer] = requirement
                    return True
        return False

    for requirement in order:
        place(requirement, set())
    assigned = {requirement: offer for offer, requirement in holders.items()}
    return [assigned.get(i) for i in range(len(offers))]
