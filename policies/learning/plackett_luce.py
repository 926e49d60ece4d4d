"""The policy: Plackett-Luce over k-subsets of the evaluations, with logits theta(k) (arXiv 2606.06060).

Evaluation 0 is computed in every schedule; the policy picks the other k - 1 one by one, without replacement, each with
probability softmax(theta) over the evaluations that are left. "Items" are evaluations 1..n-1 of a run.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..schedule import Schedule, check_k, from_indices

_FREQUENCIES = 6


def sample_order(theta: Tensor, picks: int, generator: torch.Generator | None = None) -> Tensor:
    """Ordered samples by Gumbel-top-k: the `picks` largest of theta + Gumbel noise, largest first.

    Args:
        theta: logits [..., items]; picks: how many, 0 <= picks <= items.

    Returns:
        item numbers [..., picks], int64. Distributed as Plackett-Luce (Kool et al. 2019, arXiv 1903.06059).
    """
    exponential = torch.empty_like(theta).exponential_(generator=generator)
    gumbel = -exponential.clamp(min=torch.finfo(theta.dtype).tiny).log()
    return (theta.detach() + gumbel).topk(picks, dim=-1).indices


def log_prob(theta: Tensor, order: Tensor) -> Tensor:
    """log p(order) = sum over t of theta[order_t] - logsumexp of theta over the items not picked before t.

    Args:
        theta: logits [..., items]; order: distinct items [..., picks] in the order in which they were picked.

    Returns:
        [...]; zero for no picks.
    """
    one_hot = nn.functional.one_hot(order, theta.shape[-1])
    picked_before = (one_hot.cumsum(-2) - one_hot).bool()  # [..., picks, items]
    left = theta.unsqueeze(-2).masked_fill(picked_before, -math.inf)
    return (theta.gather(-1, order) - left.logsumexp(-1)).sum(-1)


class MLPLogits(nn.Module):
    """theta(k) = shared + MLP(k), with two hidden layers over cosines of k / n.

    Through the shared vector all budgets learn from each other; the MLP, initially zero, lets them differ.

    Args:
        n: evaluations in a run; width: of both hidden layers.
    """

    def __init__(self, n: int, width: int = 128):
        super().__init__()
        self.n = n
        self.shared = nn.Parameter(torch.zeros(n - 1))
        self.hidden1 = nn.Linear(_FREQUENCIES + 1, width)
        self.hidden2 = nn.Linear(width, width)
        self.out = nn.Linear(width, n - 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, k: Tensor) -> Tensor:
        """k [batch] -> theta [batch, n - 1]."""
        share = k.to(self.shared.dtype).unsqueeze(-1) / self.n
        octaves = math.pi * 2.0 ** torch.arange(_FREQUENCIES, dtype=share.dtype, device=share.device)
        features = torch.cat((share, torch.cos(octaves * share)), -1)
        hidden = nn.functional.silu(self.hidden2(nn.functional.silu(self.hidden1(features))))
        return self.shared + self.out(hidden)


class PlackettLuce(nn.Module):
    """A stochastic policy over schedules of `n` evaluations, for every k in 1..n.

    Args:
        n: evaluations in a run, at least 1.
        logits: k [batch] -> theta [batch, n - 1]; MLPLogits by default.
        times: the evaluation times of its schedules (see Schedule), or None.
    """

    def __init__(self, n: int, logits: nn.Module | None = None, times: tuple[float, ...] | None = None):
        super().__init__()
        self.n = n
        self.logits = MLPLogits(n) if logits is None else logits
        self.times = times

    def theta(self, k: int | Tensor) -> Tensor:
        """Logits over evaluations 1..n-1: [n - 1] for an int, [batch, n - 1] for k [batch].

        Raises:
            ScheduleError: an int k outside 1..n.
        """
        if isinstance(k, Tensor):
            return self.logits(k)
        check_k(k, self.n)
        return self.logits(torch.tensor([k]))[0]

    def sample(self, k: int, count: int, generator: torch.Generator | None = None) -> tuple[list[Schedule], Tensor]:
        """`count` independent schedules of k computed evaluations, and their ordered log-probabilities [count]."""
        theta = self.theta(k).expand(count, -1)
        order = sample_order(theta, k - 1, generator)
        return [self._schedule(picks) for picks in order.tolist()], log_prob(theta, order)

    @torch.no_grad()
    def schedule(self, k: int) -> Schedule:
        """The deterministic schedule: evaluation 0 and the k - 1 largest logits (the earlier one on a tie)."""
        order = self.theta(k).argsort(descending=True, stable=True)
        return self._schedule(order[: k - 1].tolist())

    def _schedule(self, items: list[int]) -> Schedule:
        return from_indices((0, *(item + 1 for item in items)), self.n, self.times)
