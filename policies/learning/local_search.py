"""Neighbourhoods of a schedule, and local search in them. Evaluation 0 is always computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ..schedule import Schedule

Objective = Callable[[Schedule], float]


@dataclass(frozen=True)
class Move:
    """Compute the evaluations `into` instead of `out`: equally many, without evaluation 0."""

    out: frozenset[int]
    into: frozenset[int]

    def fits(self, schedule: Schedule) -> bool:
        """Whether the schedule computes all of `out` and none of `into`."""
        return all(schedule.computed[i] for i in self.out) and not any(schedule.computed[i] for i in self.into)

    def apply(self, schedule: Schedule) -> Schedule:
        """The schedule after the move, which must fit."""
        computed = list(schedule.computed)
        for i in self.out:
            computed[i] = False
        for i in self.into:
            computed[i] = True
        return Schedule(tuple(computed), schedule.times)


def singles(schedule: Schedule, radius: int, keep: int = 1) -> Iterator[Move]:
    """Every move of one computed evaluation by at most `radius`, nearest first, not among the first `keep`."""
    for distance in range(1, radius + 1):
        for source in (i for i in schedule.indices if i >= keep):
            for target in (source - distance, source + distance):
                if keep <= target < schedule.n and not schedule.computed[target]:
                    yield Move(frozenset({source}), frozenset({target}))


def shifts(schedule: Schedule) -> Iterator[Move]:
    """Every move of two or more neighbouring computed evaluations together, by one."""
    indices = schedule.indices
    for first in range(1, len(indices)):
        for end in range(first + 2, len(indices) + 1):
            block = frozenset(indices[first:end])
            for step in (-1, 1):
                moved = frozenset(i + step for i in block)
                move = Move(block - moved, moved - block)
                if min(moved) > 0 and max(moved) < schedule.n and move.fits(schedule):
                    yield move


def hill_climb(objective: Objective, start: Schedule, radius: int = 3, rounds: int = 20, keep: int = 1) -> Schedule:
    """Steepest descent over `singles`: the best of all moves, at most `rounds` times, until none improves."""
    best, best_cost = start, objective(start)
    for _ in range(rounds):
        candidates = [move.apply(best) for move in singles(best, radius, keep)]
        costs = [objective(candidate) for candidate in candidates]
        if not costs or min(costs) >= best_cost:
            break
        best_cost = min(costs)
        best = candidates[costs.index(best_cost)]
    return best


def climb(schedule: Schedule, better: Callable[[Schedule, Schedule], bool], radius: int,
          expect: Callable[[Iterator[Schedule]], None] = lambda candidates: None) -> Schedule:
    """One pass of first-improvement local search over `singles` and `shifts` of the given schedule, nearest first.

    Args:
        better: whether its first argument is better than its second.
        expect: called before every comparison with the candidates that are next as long as none is better.
    """
    moves = [*singles(schedule, radius), *shifts(schedule)]
    for i, move in enumerate(moves):
        if not move.fits(schedule):
            continue
        expect(later.apply(schedule) for later in moves[i:] if later.fits(schedule))
        if better(move.apply(schedule), schedule):
            schedule = move.apply(schedule)
    return schedule


def local_optimum(schedule: Schedule, climb_pass: Callable[[Schedule], Schedule]) -> Schedule:
    """`climb_pass`, which is `climb` with its arguments, until a pass improves nothing."""
    before = None
    while schedule != before:
        before, schedule = schedule, climb_pass(schedule)
    return schedule


def perturbed(schedule: Schedule, count: int, generator: torch.Generator) -> Schedule:
    """The schedule with up to `count` computed evaluations, never evaluation 0, moved to random places."""
    free = [i for i in range(1, schedule.n) if not schedule.computed[i]]
    count = min(count, schedule.k - 1, len(free))
    out = torch.randperm(schedule.k - 1, generator=generator)[:count].tolist()
    into = torch.randperm(len(free), generator=generator)[:count].tolist()
    return Move(frozenset(schedule.indices[1 + i] for i in out), frozenset(free[i] for i in into)).apply(schedule)
