"""Simulated annealing, then hill climbing: the search of BudCache (arXiv 2606.13496), a rival to the learner."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from recache.policies.learning.environment import Environment, Memo
from recache.policies.learning.local_search import Move, Objective, hill_climb
from recache.policies.schedule import Schedule, from_indices


@dataclass(frozen=True)
class AnnealingConfig:
    """Hyperparameters, BudCache's.

    Attributes:
        moves: proposals of the annealing.
        hot, cold: first and last temperature, falling geometrically. In units of the start's cost, so that they mean
            the same for every distance (BudCache: of the latent MSE).
        single: share of proposals that move one computed evaluation; the others move two.
        near: share of single moves that stay within `radius`.
        radius, rounds: of the hill climbing after it.
    """

    moves: int = 200
    hot: float = 0.05
    cold: float = 1e-5
    single: float = 0.9
    near: float = 0.7
    radius: int = 3
    rounds: int = 20


def anneal(objective: Objective, start: Schedule, config: AnnealingConfig, rng: random.Random) -> Schedule:
    """The best schedule met from `start` on. As in BudCache the first max(1, k // 4) evaluations stay computed."""
    keep = max(1, start.k // 4)
    start = from_indices(_with_prefix(start, keep), start.n, start.times)
    current, current_cost = start, objective(start)
    best, best_cost = current, current_cost
    scale = current_cost or 1.0
    for step in range(config.moves):
        temperature = config.hot * (config.cold / config.hot) ** (step / config.moves)
        candidate = _propose(current, keep, config, rng)
        cost = objective(candidate)
        worse = (cost - current_cost) / scale
        if worse < 0 or rng.random() < math.exp(-worse / temperature):
            current, current_cost = candidate, cost
            if cost < best_cost:
                best, best_cost = candidate, cost
    return hill_climb(objective, best, config.radius, config.rounds, keep)


def anneal_within(environment: Environment, k: int, totals: Sequence[int], seed: int) -> dict[int, tuple[int, ...]]:
    """{network evaluations spent, of `totals`: the best schedule of k that one search has met by then}."""
    memo, rng, met = Memo(environment), random.Random(1000 * seed + k), []

    def cost(schedule: Schedule) -> float:
        if memo.evaluations > max(totals):
            return float("inf")  # nothing that comes now is counted
        met.append((memo.mean_cost(schedule), memo.evaluations, schedule.indices))
        return met[-1][0]

    anneal(cost, random_start(environment.n, k, rng), AnnealingConfig(), rng)
    within = {total: [(price, indices) for price, spent, indices in met if spent <= total] for total in totals}
    return {total: min(found)[1] for total, found in within.items() if found}


def random_start(n: int, k: int, rng: random.Random) -> Schedule:
    """BudCache's start: the first max(1, k // 4) evaluations, the others anywhere."""
    keep = max(1, k // 4)
    return from_indices([*range(keep), *rng.sample(range(keep, n), k - keep)], n)


def _propose(schedule: Schedule, keep: int, config: AnnealingConfig, rng: random.Random) -> Schedule:
    sources = [i for i in schedule.indices if i >= keep]
    targets = [i for i in range(keep, schedule.n) if not schedule.computed[i]]
    if not sources or not targets:
        return schedule
    if rng.random() < config.single or min(len(sources), len(targets)) < 2:
        source = rng.choice(sources)
        near = [t for t in targets if abs(t - source) <= config.radius]
        target = rng.choice(near if near and rng.random() < config.near else targets)
        return Move(frozenset({source}), frozenset({target})).apply(schedule)
    return Move(frozenset(rng.sample(sources, 2)), frozenset(rng.sample(targets, 2))).apply(schedule)


def _with_prefix(schedule: Schedule, keep: int) -> list[int]:
    """The first `keep` evaluations and the schedule's latest others, k in all."""
    later = [i for i in schedule.indices if i >= keep]
    return [*range(keep), *later[len(later) - (schedule.k - keep) :]]
