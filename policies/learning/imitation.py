"""Self-imitation: fit the policy to the best schedules found, for all k at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedule import Schedule
from .plackett_luce import PlackettLuce


def imitate(
    policy: PlackettLuce,
    elites: dict[int, Schedule],
    min_pick_probability: float,
    steps: int = 1000,
    learning_rate: float = 0.01,
) -> bool:
    """Maximise log p of every elite's most likely order, until the policy's deterministic schedules are the elites.

    Args:
        policy: trained in place. elites: {k: schedule of k computed evaluations}.
        min_pick_probability: train until the geometric mean of the picks' probabilities is at least this, 0 <= p < 1:
            near 1 for a nearly deterministic policy, lower for one that explores.
        steps: at most so many. learning_rate: of Adam.

    Returns:
        whether policy.schedule(k) computes what elites[k] does, for every k.
    """
    ks = torch.tensor([k for k in elites if 1 < k < policy.n])
    if not len(ks):
        return True
    wanted = torch.tensor([elites[k].computed[1:] for k in ks.tolist()])
    optimiser = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    for _ in range(steps):
        theta = policy.theta(ks)
        per_pick = _best_order_log_prob(theta, wanted) / (ks - 1)
        exact = _top(theta.detach(), ks - 1).equal(wanted)
        if exact and per_pick.mean().exp() >= min_pick_probability:
            return True
        optimiser.zero_grad()
        (-per_pick.mean()).backward()
        optimiser.step()
    return _top(policy.theta(ks).detach(), ks - 1).equal(wanted)


def _best_order_log_prob(theta: Tensor, wanted: Tensor) -> Tensor:
    """log p of picking all `wanted` [K, items] first, the largest theta [K, items] of them first: [K]."""
    order = theta.detach().masked_fill(~wanted, -torch.inf).argsort(dim=-1, descending=True)
    ordered, picked = theta.gather(-1, order), wanted.gather(-1, order)
    left = ordered.flip(-1).logcumsumexp(-1).flip(-1)
    return ((ordered - left) * picked).sum(-1)


def _top(theta: Tensor, picks: Tensor) -> Tensor:
    """bool [K, items]: the picks [K] largest of theta [K, items]."""
    rank = theta.argsort(dim=-1, descending=True, stable=True).argsort(-1)
    return rank < picks.unsqueeze(-1)
