"""Learning at an artist's cost: a gradient that ranks all evaluations for all k, joined with a local search.

1. The starts (uniform, the dynamic program's, ...) are tried; per k the best is the first elite.
2. The policy imitates the elites, then REINFORCE trains it over all k at once.
3. What it now thinks best is tried for every k, and its logits say which moves the local search tries first.
4. Finds are carried to the neighbouring k (schedules of neighbouring budgets are nearly nested) and imitated.
5. On held-out samples the best of learned and starts is kept, per k, and imitated: that is the policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .environment import Environment, Memo
from .imitation import imitate
from .local_search import move
from .plackett_luce import PlackettLuce
from .reinforce import Reinforce, train
from .schedule import Schedule, from_indices


@dataclass(frozen=True)
class Learner:
    """Hyperparameters, ours, chosen by measurement.

    Attributes:
        reinforce: of the gradient. stay: how sure the policy is of the starts before it (see imitate).
        evaluations: network evaluations that the search may spend on training samples; reaching them ends it.
        sweeps: times that the local search goes over all k, at most.
        radius: how far a move takes a computed evaluation.
        screen: samples (of all) after which a candidate that is behind is dropped; 1 or more.
        seed: of everything random.
    """

    reinforce: Reinforce = field(default_factory=lambda: Reinforce(updates=20))
    stay: float = 0.7
    evaluations: int = 100_000
    sweeps: int = 20
    radius: int = 3
    screen: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """What learning gives.

    Attributes:
        policy: policy.schedule(k) is schedules[k] for every k that was asked for.
        schedules: {k: the winner on the held-out samples}.
        winners: {k: its name, "learned" or a start's}.
        validation: {k: {name: mean held-out cost}}.
        evaluations: network evaluations spent on training samples; on held-out ones.
        curve: (evaluations so far, gain so far) after every improvement; gain is the geometric mean over k of the first
            start's training cost over the elite's: 1 at the start, higher is better.
    """

    policy: PlackettLuce
    schedules: dict[int, Schedule]
    winners: dict[int, str]
    validation: dict[int, dict[str, float]]
    evaluations: tuple[int, int]
    curve: list[tuple[int, float]]


class _Spent(Exception):
    """The evaluations that the search may spend are spent."""


def learn(
    environment: Environment,
    held_out: Environment,
    starts: dict[str, dict[int, Schedule]],
    config: Learner = Learner(),
    progress: Callable[[int, float], None] = lambda evaluations, gain: None,
) -> Learned:
    """Learn one policy for all k of the starts.

    Args:
        environment, held_out: training and held-out samples of the same run. Costs are above 0. Give a Memo to keep
            what was computed, for instance to resume.
        starts: {name: {k: schedule}}; the first name has every k, and is the one that gains are measured against.
        progress: called with the training evaluations so far and the gain so far (see Learned.curve), often; an
            exception that it raises ends learning and is passed on.
    """
    search = _Search(environment, starts, config, progress)
    try:
        search.try_starts(starts)
        search.gradient()
        search.polish()
    except _Spent:
        pass
    return search.select(held_out, starts)


class _Search:
    def __init__(self, environment, starts, config, progress):
        self.memo = environment if isinstance(environment, Memo) else Memo(environment)
        self.config = config
        self.progress = progress
        self.first = next(iter(starts.values()))
        self.ks = sorted(self.first)
        self.elites: dict[int, Schedule] = {}
        self.curve: list[tuple[int, float]] = []
        self.generator = torch.Generator().manual_seed(config.seed)
        times = self.first[self.ks[0]].times
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.policy = PlackettLuce(self.memo.n, times=times)

    def try_starts(self, starts):
        self.elites = dict(self.first)
        self.scale = {k: self.memo.mean_cost(s) for k, s in self.first.items()}
        for schedules in starts.values():
            for k, schedule in schedules.items():
                self.challenge(k, schedule)

    def gradient(self):
        imitate(self.policy, self.elites, self.config.stay)
        train(
            self.policy,
            self,
            dict.fromkeys(self.ks, 1.0),
            self.config.reinforce,
            self.generator,
            loss=lambda cost, k: math.log(cost / self.scale[k]),
        )
        for k in self.ks:
            self.challenge(k, self.policy.schedule(k))

    def polish(self):
        """Sweep over all k with single moves, the ones that the policy likes best first, until nothing improves."""
        imitate(self.policy, self.elites, self.config.stay)
        stale = set(self.ks)
        for _ in range(self.config.sweeps):
            for k in list(self.ks):
                if k in stale:
                    stale.discard(k)
                    if self.climb(k):
                        stale.update({k}, self.spread(k))
            if not stale:
                break
            imitate(self.policy, self.elites, self.config.stay)

    def climb(self, k: int) -> bool:
        """One pass over the moves of the elite of k; a better schedule is taken at once."""
        theta = [math.inf, *self.policy.theta(k).tolist()]
        improved = False
        elite = self.elites[k]
        moves = [
            (theta[target] - theta[source], source, target)
            for source in elite.indices[1:]
            for target in range(max(1, source - self.config.radius), min(elite.n, source + self.config.radius + 1))
            if not elite.computed[target]
        ]
        for _, source, target in sorted(moves, reverse=True):
            elite = self.elites[k]
            if elite.computed[source] and not elite.computed[target]:
                improved |= self.challenge(k, move(elite, source, target))
        return improved

    def spread(self, k: int) -> set[int]:
        """Try the elite of k, one evaluation more or less, as the elite of the next k; the k that improved."""
        improved = set()
        elite = self.elites[k]
        place = self.ks.index(k)
        for other in self.ks[max(0, place - 1) : place] + self.ks[place + 1 : place + 2]:
            theta = self.policy.theta(other)
            mask = torch.tensor(elite.computed[1:])
            order = (theta.detach() + 1e3 * mask).argsort(descending=True, stable=True)[: other - 1]
            candidate = from_indices((0, *(order + 1).tolist()), elite.n, elite.times)
            if self.challenge(other, candidate):
                improved.add(other)
        return improved

    def challenge(self, k: int, candidate: Schedule) -> bool:
        """Race `candidate` against the elite of k over the samples; it is dropped as soon as it is clearly behind."""
        elite = self.elites[k]
        if candidate.computed == elite.computed:
            return False
        ahead = 0.0
        order = sorted(range(self.memo.samples), key=lambda s: -self.cost(elite, s))
        for count, sample in enumerate(order, 1):
            ahead += self.cost(elite, sample) - self.cost(candidate, sample)
            if count >= self.config.screen and ahead <= 0:
                return False
        if ahead <= 0:
            return False
        self.elites[k] = candidate
        gain = sum(math.log(self.scale[b] / self.memo.mean_cost(e)) for b, e in self.elites.items()) / len(self.ks)
        self.curve.append((self.memo.evaluations, math.exp(gain)))
        return True

    # the environment that the gradient sees
    @property
    def samples(self):
        return self.memo.samples

    def cost(self, schedule, sample):
        if self.memo.evaluations >= self.config.evaluations:
            raise _Spent
        cost = self.memo.cost(schedule, sample)
        self.progress(self.memo.evaluations, self.curve[-1][1] if self.curve else 1.0)
        return cost

    def select(self, held_out, starts) -> Learned:
        held_out = held_out if isinstance(held_out, Memo) else Memo(held_out)
        validation, winners, schedules = {}, {}, {}
        for k in self.ks:
            entries = {"learned": self.elites[k]} | {name: s[k] for name, s in starts.items() if k in s}
            validation[k] = {name: held_out.mean_cost(s) for name, s in entries.items()}
            winners[k] = min(validation[k], key=validation[k].__getitem__)
            schedules[k] = entries[winners[k]]
        imitate(self.policy, schedules, stay=0.9, steps=5000)
        spent = (self.memo.evaluations, held_out.evaluations)
        return Learned(self.policy, schedules, winners, validation, spent, self.curve)
