"""Single moves of computed evaluations, and hill climbing with them. Evaluation 0 never moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .schedule import Schedule, from_indices

Objective = Callable[[Schedule], float]


def move(schedule: Schedule, source: int, target: int) -> Schedule:
    """The schedule with evaluation `target` computed instead of `source`."""
    return from_indices({*schedule.indices} - {source} | {target}, schedule.n, schedule.times)


def neighbours(schedule: Schedule, radius: int) -> Iterator[Schedule]:
    """Every schedule that one move of at most `radius` evaluations away from its place makes, nearest moves first."""
    for distance in range(1, radius + 1):
        for source in schedule.indices[1:]:
            for target in (source - distance, source + distance):
                if 0 < target < schedule.n and not schedule.computed[target]:
                    yield move(schedule, source, target)


def hill_climb(objective: Objective, start: Schedule, radius: int = 3, rounds: int = 20) -> Schedule:
    """Steepest descent: at most `rounds` times the best neighbour within `radius`, until none is better."""
    best, best_cost = start, objective(start)
    for _ in range(rounds):
        costs = {neighbour: objective(neighbour) for neighbour in neighbours(best, radius)}
        if not costs or min(costs.values()) >= best_cost:
            break
        best = min(costs, key=costs.__getitem__)
        best_cost = costs[best]
    return best
