"""Learning one policy for all budgets: imitation, REINFORCE and local search, from top to bottom.

1. The starts (the default schedule, the dynamic program's, ...) are evaluated; the best of each k is its first elite.
2. Where the evaluations suffice to try every schedule, all are tried, and 3 and 4 are left out.
3. The policy imitates the elites; REINFORCE trains it for all k; its most likely schedules challenge the elites.
4. Local search climbs from every elite until none improves, then from perturbed elites (iterated local search), until
   the evaluations are spent.
5. For every k the elite is selected, or what is clearly better on held-out samples, of the starts and other contenders
   (see winner); the policy is fitted to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import MappingProxyType

import numpy as np
import torch

from ..schedule import Schedule
from .elites import Elites, Starts, evaluated
from .enumeration import can_try_all, try_all
from .environment import Environment, Memo, MemoByK
from .imitation import imitate
from .local_search import climb, local_optimum, perturbed
from .plackett_luce import PlackettLuce
from .racing import MIN_SAMPLES, beats
from .reinforce import ReinforceConfig, train

OnRollout = Callable[[int, dict[int, float]], None]
Contenders = Mapping[str, Mapping[int, tuple[Memo, Schedule]]]


@dataclass(frozen=True)
class LearnConfig:
    """Hyperparameters, chosen by measurement.

    Attributes:
        reinforce: of the policy gradient.
        min_pick_probability: of the elites under the policy while it learns (see imitate).
        evaluations: maximum of network evaluations on training samples.
        radius: maximum distance, in evaluations, that a local move shifts a single computed evaluation.
        perturbations: climbs from a perturbed elite, per k.
        perturbed: computed evaluations that a perturbation moves to random places.
        seed: of every random choice.
    """

    reinforce: ReinforceConfig = field(default_factory=ReinforceConfig)
    min_pick_probability: float = 0.7
    evaluations: int = 1_000_000
    radius: int = 3
    perturbations: int = 40
    perturbed: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """The result of learning.

    Attributes:
        policy: fitted to `schedules`; policy.schedule(k) is schedules[k] where it could be (see policy.from_schedules).
        schedules: {k: the winner on the held-out samples}.
        winners: {k: its name, "learned", or a start's or contender's}.
        validation: {k: {name: mean held-out cost}}.
        evaluations, held_out_evaluations: network evaluations taken on training and on held-out samples.
        curve: (evaluations so far, gain so far) after every improvement; the gain is the share of the first start's
            training cost that the elite saves, the mean over k: at most 1.
    """

    policy: PlackettLuce
    schedules: dict[int, Schedule]
    winners: dict[int, str]
    validation: dict[int, dict[str, float]]
    evaluations: int
    held_out_evaluations: int
    curve: list[tuple[int, float]]


def learn(
    environment: Environment | MemoByK,
    held_out: Environment | MemoByK,
    starts: Starts,
    config: LearnConfig = LearnConfig(),
    should_stop: Callable[[], bool] = lambda: False,
    on_rollout: OnRollout = lambda evaluations, gains: None,
    contenders: Contenders = MappingProxyType({}),
) -> Learned:
    """Learn one policy for all k of the starts. Deterministic.

    Args:
        environment, held_out: training and held-out samples of the same run. A Memo is not wrapped again, so that a
            caller can store its costs and resume.
        starts: {name: {k: schedule}}. The first name has every k; gains are measured against it.
        should_stop: called before every rollout of the search; True ends the search. The starts and the held-out
            samples are evaluated nevertheless.
        on_rollout: called with the evaluations and {k: gain} so far before every rollout.
        contenders: {name: {k: (memo of the held-out samples, schedule)}}, all of every k: what the winner is selected
            from besides, such as other mechanisms' schedules. One with a start's name replaces it there.
    """
    memo, held_out = (
        each if isinstance(each, Memo | MemoByK) else Memo(each) for each in (environment, held_out))
    elites = Elites(memo, starts, on_rollout)
    ks, policy = list(elites.schedules), _initial_policy(memo.n, starts, config.seed)

    def out_of_budget() -> bool:
        if memo.evaluations >= config.evaluations:
            return True
        on_rollout(memo.evaluations, elites.gains)
        return should_stop()

    if can_try_all(memo, ks, config.evaluations):
        try_all(elites, memo, out_of_budget)
    else:
        _search(policy, elites, memo, config, out_of_budget)
    return _select(policy, elites, starts, contenders, memo, held_out, on_rollout)


def _search(policy: PlackettLuce, elites: Elites, memo: Memo | MemoByK, config: LearnConfig,
            out_of_budget: Callable[[], bool]) -> None:
    """Steps 3 and 4."""
    ks, generator = list(elites.schedules), torch.Generator().manual_seed(config.seed)
    better = partial(beats, memo=memo, out_of_budget=out_of_budget)
    imitate(policy, elites.schedules, config.min_pick_probability)
    train(policy, memo, dict.fromkeys(ks, 1.0), config.reinforce, generator,
          loss=lambda cost, k: cost / elites.scale[k], should_stop=out_of_budget, prefetch=memo.prefetch)
    for k in ks:
        elites.challenge(k, policy.schedule(k), better)

    climb_pass = partial(climb, better=better, radius=config.radius,
                         expect=partial(_prefetch_next, memo, config.evaluations))
    _climb_in_turn(elites, better, climb_pass, out_of_budget)
    _climb_from_perturbed(elites, better, climb_pass, config, generator, out_of_budget)


def _prefetch_next(memo: Memo | MemoByK, evaluations: int, candidates: Iterator[Schedule]) -> None:
    """Have the environment compute as many candidates as it can at once, on the samples that every race begins with."""
    if memo.width == 1 or memo.evaluations >= evaluations:
        return
    ahead = list(islice(candidates, memo.width))
    if not memo.has(ahead[0], 0):
        memo.prefetch((schedule, s) for s in range(min(MIN_SAMPLES, memo.samples)) for schedule in ahead)


def _initial_policy(n: int, starts: Starts, seed: int) -> PlackettLuce:
    first = next(iter(starts.values()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PlackettLuce(n, times=first[min(first)].times)


def _climb_in_turn(elites: Elites, better: Callable[[Schedule, Schedule], bool],
                   climb_pass: Callable[[Schedule], Schedule], out_of_budget: Callable[[], bool]) -> None:
    """Climb from every elite, a pass each in turn so that all k share the evaluations, until none improves."""
    climbing = list(elites.schedules)
    while climbing and not out_of_budget():
        k = climbing.pop(0)
        if elites.challenge(k, climb_pass(elites.schedules[k]), better):
            climbing.append(k)


def _climb_from_perturbed(elites: Elites, better: Callable[[Schedule, Schedule], bool],
                          climb_pass: Callable[[Schedule], Schedule], config: LearnConfig, generator: torch.Generator,
                          out_of_budget: Callable[[], bool]) -> None:
    """Iterated local search: climb from perturbed elites, all k in turn."""
    for k in list(elites.schedules) * config.perturbations:
        if out_of_budget():
            break
        start = perturbed(elites.schedules[k], config.perturbed, generator)
        elites.challenge(k, local_optimum(start, climb_pass), better)


def _select(policy: PlackettLuce, elites: Elites, starts: Starts, contenders: Contenders, memo: Memo | MemoByK,
            held_out: Memo | MemoByK, on_rollout: OnRollout) -> Learned:
    """The winner of elite, starts and contenders on held-out samples, for every k; the policy is fitted to them."""
    entries = {
        k: {name: (held_out, schedule) for name, schedule in (
            ("learned", elite), *((name, of_k[k]) for name, of_k in starts.items() if k in of_k))}
        | {name: of_k[k] for name, of_k in contenders.items()}
        for k, elite in elites.schedules.items()}
    for judge in {judge for row in entries.values() for judge, _ in row.values()}:
        judge.prefetch((schedule, i) for row in entries.values() for of, schedule in row.values() if of is judge
                       for i in range(judge.samples))
    validation = {
        k: {name: evaluated(judge, schedule, lambda: on_rollout(memo.evaluations, elites.gains))
            for name, (judge, schedule) in row.items()}
        for k, row in entries.items()}
    winners = {
        k: winner({name: [judge.cost(schedule, i) for i in range(judge.samples)]
                   for name, (judge, schedule) in row.items()})
        for k, row in entries.items()}
    schedules = {k: entries[k][name][1] for k, name in winners.items()}
    imitate(policy, schedules, min_pick_probability=0.9, steps=5000)
    return Learned(policy, schedules, winners, validation, memo.evaluations, held_out.evaluations, elites.curve)


def winner(costs: dict[str, list[float]]) -> str:
    """"learned", or the best of those whose mean cost is lower by more than a standard error of the paired difference.

    Held-out samples are few, so that a smaller lead says less than the training samples do, on which "learned" leads.

    Args:
        costs: {name: cost of every held-out sample}.
    """
    def lead(name: str) -> float:
        """Beyond the standard error; any lead counts where there is one sample."""
        apart = np.subtract(costs["learned"], costs[name])
        error = apart.std(ddof=1) / len(apart) ** 0.5 if len(apart) > 1 else 0.0
        return float(apart.mean() - error)

    clearly = [name for name in costs if lead(name) > 0.0]
    return min(clearly, key=lambda name: float(np.mean(costs[name])), default="learned")
