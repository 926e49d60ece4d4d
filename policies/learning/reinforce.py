"""REINFORCE with a leave-one-out baseline, as in arXiv 2606.06060: the whole training loop, top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from ..schedule import Schedule
from .environment import Environment, Pairs
from .plackett_luce import PlackettLuce


@dataclass(frozen=True)
class ReinforceConfig:
    """Hyperparameters, chosen by measurement; the paper states none of their values.

    Attributes:
        updates: optimiser steps.
        batch: elements of a step, each a pair (sample, k), k ~ q(k), the sample uniform; 1 or more.
        schedules: n, sampled for each element; at least 2, for the leave-one-out baseline.
        learning_rate: of Adam, at the start; decays linearly to zero.
        max_loss: upper bound of L. A run that ends in NaN costs WORST, whose square overflows Adam's second moment: one
            such rollout would end all learning.
        entropy: lambda, in L_reg(s) = L(s) + lambda log p(s); 0 or more.
    """

    updates: int = 20
    batch: int = 4
    schedules: int = 8
    learning_rate: float = 0.05
    max_loss: float = 100.0
    entropy: float = 0.01


def surrogate(loss: Tensor, log_p: Tensor, entropy: float) -> Tensor:
    """The scalar whose gradient is 1/(n-1) sum_i (L_reg(s_i) - mean L_reg) grad log p(s_i).

    The same as a leave-one-out baseline for each of the n schedules. The advantage is detached, not divided by its
    standard deviation and not clipped.

    Args:
        loss: L(s_i) [n], n >= 2; log_p: log p(s_i) [n], with gradient; entropy: lambda.
    """
    regularised = (loss + entropy * log_p).detach()
    advantage = regularised - regularised.mean()
    return (advantage * log_p).sum() / (len(loss) - 1)


def draw(policy: PlackettLuce, ks: Sequence[int], q: Tensor, samples: int, config: ReinforceConfig,
         generator: torch.Generator) -> tuple[int, int, list[Schedule], Tensor]:
    """(k, sample, schedules of k, their log-probabilities) at random; q [len(ks)] weighs the k."""
    k = ks[torch.multinomial(q, 1, generator=generator).item()]
    sample = torch.randint(samples, (1,), generator=generator).item()
    return k, sample, *policy.sample(k, config.schedules, generator)


def train(
    policy: PlackettLuce,
    environment: Environment,
    budgets: dict[int, float],
    config: ReinforceConfig,
    generator: torch.Generator,
    loss: Callable[[float, int], float] = lambda cost, k: cost,
    should_stop: Callable[[], bool] = lambda: False,
    on_update: Callable[[int, float], None] = lambda update, mean_loss: None,
    prefetch: Callable[[Pairs], None] = lambda pairs: None,
) -> None:
    """Train `policy` in place to make schedules of low cost.

    Args:
        environment: usually a Memo, so that a schedule that is sampled again costs nothing.
        budgets: q(k), {k: weight}, weights above 0; k = 1 and k = n leave no choice and are skipped.
        loss: L(cost, k); should even out that costs of different k differ by orders of magnitude.
        should_stop: called before every rollout; ends training with the policy of the last update.
        on_update: called after every update with its number (from 0) and the mean L of its samples.
        prefetch: called with what an update will ask for.
    """
    ks = [k for k in budgets if 1 < k < policy.n]
    if not ks:
        return
    q = torch.tensor([budgets[k] for k in ks])
    optimiser = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    for update in range(config.updates):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1.0 - update / config.updates)
        optimiser.zero_grad()
        mean_loss = 0.0
        batch = [draw(policy, ks, q, environment.samples, config, generator) for _ in range(config.batch)]
        prefetch((schedule, sample) for _, sample, schedules, _ in batch for schedule in schedules)
        for k, sample, schedules, log_p in batch:
            losses = []
            for schedule in schedules:
                if should_stop():
                    return
                losses.append(min(loss(environment.cost(schedule, sample), k), config.max_loss))
            (surrogate(torch.tensor(losses), log_p, config.entropy) / config.batch).backward()
            mean_loss += fmean(losses) / config.batch
        optimiser.step()
        on_update(update, mean_loss)
