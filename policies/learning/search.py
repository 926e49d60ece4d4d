"""Learning at an artist's cost: a gradient that ranks all evaluations for all k, joined with a local search.

1. The starts (uniform, the dynamic program's, ...) are tried; per k the best is the first elite.
2. The policy imitates the elites, then REINFORCE trains it over all k at once; what it then thinks best is tried.
3. Local search climbs from every elite, the moves that the policy likes best first. A find is carried to the
   neighbouring k, because schedules of neighbouring budgets are nearly nested, and the policy imitates the elites.
4. While evaluations are left, it climbs from kicked elites too.
5. On held-out samples the best of the learned schedule and the starts is kept, per k, and imitated: the policy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import stdev

import torch

from ..schedule import Schedule, from_indices
from .environment import Environment, Memo
from .imitation import imitate
from .local_search import Move, shifts, singles
from .plackett_luce import PlackettLuce
from .reinforce import ReinforceConfig, train

Starts = dict[str, dict[int, Schedule]]
Progress = Callable[[int, dict[int, float]], None]

_FEWEST = 3  # samples that a race takes at least, if there are as many


@dataclass(frozen=True)
class LearnConfig:
    """Hyperparameters, ours, chosen by measurement.

    Attributes:
        reinforce: of the gradient.
        min_pick_probability: how sure the policy is of the elites while it learns (see imitate).
        evaluations: network evaluations that may be spent on training samples; the search ends when they are.
        radius: how far a near move takes a computed evaluation.
        screen: the share of samples after which a candidate that is behind is dropped, above 0 and at most 1.
        z: standard errors by which a candidate must be better, 0 or more, or worse to be dropped at once; its mean
            lead over few samples is often the luck of one of them, and does not last on others.
        kicks: climbs from a kicked elite, per k.
        kick: computed evaluations that a kick moves anywhere.
        loss_clip: in costs of the first start: a ruined picture is bad enough, and must not drown the others.
        hardest_first: whether races begin with the samples that the elite does worst on.
        spread: whether an elite is tried for the neighbouring k.
        policy_order: whether the moves that the policy likes best are tried first.
        seed: of everything random.
    """

    reinforce: ReinforceConfig = field(default_factory=ReinforceConfig)
    min_pick_probability: float = 0.7
    evaluations: int = 1_000_000
    radius: int = 3
    screen: float = 0.25
    z: float = 1.5
    kicks: int = 40
    kick: int = 3
    loss_clip: float = 100.0
    hardest_first: bool = True
    spread: bool = True
    policy_order: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """What learning gives.

    Attributes:
        policy: policy.schedule(k) is schedules[k] for every k that was asked for.
        schedules: {k: the winner on the held-out samples}.
        winners: {k: its name, "learned" or a start's}.
        validation: {k: {name: mean held-out cost}}.
        evaluations: network evaluations spent on training samples; held_out_evaluations: on the others.
        curve: (evaluations so far, gain so far) after every improvement; gain is the mean over k of the share of the
            first start's training cost that the elite saves: 0 for nothing, 1 for all of it.
    """

    policy: PlackettLuce
    schedules: dict[int, Schedule]
    winners: dict[int, str]
    validation: dict[int, dict[str, float]]
    evaluations: int
    held_out_evaluations: int
    curve: list[tuple[int, float]]


def learn(
    environment: Environment,
    held_out: Environment,
    starts: Starts,
    config: LearnConfig = LearnConfig(),
    progress: Progress = lambda evaluations, gains: None,
) -> Learned:
    """Learn one policy for all k of the starts. The same arguments give the same policy.

    Args:
        environment, held_out: training and held-out samples of the same run. A Memo is used as it is, so that a caller
            can keep what was computed, to resume.
        starts: {name: {k: schedule}}. The first name has every k and is what gains are measured against.
        progress: called with the evaluations and {k: gain} so far (see Learned.curve) before every rollout. What it
            raises ends learning and is passed on; `Stop` ends only the search: the starts and the held-out samples are
            still tried, and the best so far is returned.
    """
    search = _Search(environment, starts, config, progress)
    try:
        search.gradient()
        search.polish()
    except Stop:
        pass
    return search.select(held_out)


class Stop(Exception):
    """Raised to end the search with the best so far: when its evaluations are spent, or by `progress`."""


class _Search:
    """The state of one learning, and itself the environment that the gradient and the races see."""

    def __init__(self, environment: Environment, starts: Starts, config: LearnConfig, progress: Progress):
        self.memo = environment if isinstance(environment, Memo) else Memo(environment)
        self.samples = self.memo.samples
        self.starts, self.config, self.progress = starts, config, progress
        first = next(iter(starts.values()))
        self.ks = sorted(first)
        self.gains = dict.fromkeys(self.ks, 0.0)
        self.curve: list[tuple[int, float]] = []
        self.scale = {k: abs(self.mean_cost(self.memo, first[k])) or 1.0 for k in self.ks}
        self.elites = {
            k: min((s[k] for s in starts.values() if k in s), key=lambda schedule: self.mean_cost(self.memo, schedule))
            for k in self.ks
        }
        self._note_gain()
        self.generator = torch.Generator().manual_seed(config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.policy = PlackettLuce(self.memo.n, times=first[self.ks[0]].times)

    def cost(self, schedule: Schedule, sample: int) -> float:
        if self.memo.evaluations >= self.config.evaluations:
            raise Stop
        self.progress(self.memo.evaluations, self.gains)
        return self.memo.cost(schedule, sample)

    def mean_cost(self, memo: Memo, schedule: Schedule) -> float:
        """Mean over all samples, whatever evaluations are left."""
        for sample in range(memo.samples):
            with contextlib.suppress(Stop):
                self.progress(self.memo.evaluations, self.gains)
            memo.cost(schedule, sample)
        return memo.mean_cost(schedule)

    def gradient(self) -> None:
        imitate(self.policy, self.elites, self.config.min_pick_probability)
        train(
            self.policy,
            self,
            dict.fromkeys(self.ks, 1.0),
            self.config.reinforce,
            self.generator,
            loss=lambda cost, k: min(cost / self.scale[k], self.config.loss_clip),
        )
        for k in self.ks:
            self.challenge(k, self.policy.schedule(k))
        imitate(self.policy, self.elites, self.config.min_pick_probability)

    def polish(self) -> None:
        self.climb_from_elites(self.ks)
        for _ in range(self.config.kicks):
            for k in self.ks:
                before, current = None, self.kicked(k)
                while current != before:
                    before, current = current, self.climb(k, current)
                if self.challenge(k, current):
                    self.climb_from_elites([k, *self.spread(k)])

    def climb_from_elites(self, ks: Iterable[int]) -> None:
        """Climb a pass at a time, so that evaluations that run out do so for all k alike, until none improves."""
        queue = list(ks)
        while queue:
            k = queue.pop(0)
            if self.challenge(k, self.climb(k, self.elites[k])):
                queue += [other for other in (k, *self.spread(k)) if other not in queue]
        imitate(self.policy, self.elites, self.config.min_pick_probability)

    def climb(self, k: int, schedule: Schedule) -> Schedule:
        """One pass over the near moves, those that the policy likes best first; a better schedule is taken at once."""
        theta = [0.0, *self.policy.theta(k).tolist()]

        def dislike(move: Move) -> float:
            return sum(theta[i] for i in move.out) - sum(theta[i] for i in move.into)

        moves = [*singles(schedule, self.config.radius), *shifts(schedule)]
        for move in sorted(moves, key=dislike) if self.config.policy_order else moves:
            if move.fits(schedule) and self.better(move.apply(schedule), schedule):
                schedule = move.apply(schedule)
        return schedule

    def spread(self, k: int) -> list[int]:
        """Try the elite of k, made smaller or larger, for the neighbouring k; those that it improved."""
        if not self.config.spread:
            return []
        place = self.ks.index(k)
        others = self.ks[max(0, place - 1) : place] + self.ks[place + 1 : place + 2]
        return [other for other in others if self.challenge(other, self.resized(self.elites[k], other))]

    def resized(self, schedule: Schedule, k: int) -> Schedule:
        """The schedule with k computed evaluations: the policy's least liked dropped, or its favourites added."""
        mine = torch.tensor(schedule.computed[1:])
        theta = self.policy.theta(k).detach()
        order = (theta + mine * (theta.max() - theta.min() + 1.0)).argsort(descending=True, stable=True)
        return from_indices((0, *(order[: k - 1] + 1).tolist()), schedule.n, schedule.times)

    def kicked(self, k: int) -> Schedule:
        """The elite of k with a few computed evaluations moved anywhere."""
        elite = self.elites[k]
        free = [i for i in range(1, elite.n) if not elite.computed[i]]
        count = min(self.config.kick, k - 1, len(free))
        out = torch.randperm(k - 1, generator=self.generator)[:count].tolist()
        into = torch.randperm(len(free), generator=self.generator)[:count].tolist()
        return Move(frozenset(elite.indices[1 + i] for i in out), frozenset(free[i] for i in into)).apply(elite)

    def better(self, candidate: Schedule, than: Schedule) -> bool:
        """Race two schedules over the samples, the hardest first.

        A candidate is dropped when it is surely behind, and after the screening when it is behind at all.
        """
        if candidate.computed == than.computed:
            return False
        leads: list[float] = []
        order = range(self.samples)
        if self.config.hardest_first:
            order = sorted(order, key=lambda sample: -self.cost(than, sample))
        for count, sample in enumerate(order, 1):
            leads.append(self.cost(than, sample) - self.cost(candidate, sample))
            doubt = self.config.z * _deviation(leads) * count**0.5
            screened = count >= self.config.screen * self.samples
            behind = sum(leads) <= 0 if screened else sum(leads) < -doubt and count >= _FEWEST
            if behind:
                return False
        return sum(leads) > doubt

    def challenge(self, k: int, candidate: Schedule) -> bool:
        """Make the candidate the elite of k if it is better."""
        if not self.better(candidate, self.elites[k]):
            return False
        self.elites[k] = candidate
        self._note_gain()
        return True

    def select(self, held_out: Environment) -> Learned:
        held_out = held_out if isinstance(held_out, Memo) else Memo(held_out)
        entries = {
            k: {"learned": self.elites[k]} | {name: s[k] for name, s in self.starts.items() if k in s} for k in self.ks
        }
        validation = {k: {name: self.mean_cost(held_out, s) for name, s in entries[k].items()} for k in self.ks}
        winners = {k: min(validation[k], key=validation[k].__getitem__) for k in self.ks}
        schedules = {k: entries[k][winners[k]] for k in self.ks}
        imitate(self.policy, schedules, min_pick_probability=0.9, steps=5000)
        spent, held_out_spent = self.memo.evaluations, held_out.evaluations
        return Learned(self.policy, schedules, winners, validation, spent, held_out_spent, self.curve)

    def _note_gain(self) -> None:
        self.gains = {k: 1.0 - self.memo.mean_cost(self.elites[k]) / self.scale[k] for k in self.ks}
        self.curve.append((self.memo.evaluations, mean_gain(self.gains)))


def mean_gain(gains: dict[int, float]) -> float:
    """The mean over k of {k: gain}."""
    return sum(gains.values()) / len(gains)


def _deviation(values: list[float]) -> float:
    """Standard deviation; 0 of a single value, which says nothing of others."""
    return stdev(values) if len(values) > 1 else 0.0
