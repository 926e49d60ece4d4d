"""The calls of the denoiser in a sampling run, as a dry run of its sampler has counted them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .reasons import Reason

SAME_SIGMA = 1e-3


@dataclass(frozen=True)
class Beginnings:
    """Evaluations, but for the first, that no earlier one was like of which a history is kept still.

    Attributes:
        single: a cond begins, also once more, or one of its ControlNets begins or ends: at `blocks` every cond has a
            history.
        combined: so does the set of conds whose predictions the host combines: at `output` each set has one.
    """

    single: frozenset[int] = frozenset()
    combined: frozenset[int] = frozenset()

    def at(self, cache_point: str) -> frozenset[int]:
        """Those that matter there."""
        return self.single if cache_point == "blocks" else self.combined


@dataclass(frozen=True)
class Evaluations:
    """The calls of the denoiser that a sampler will make.

    Attributes:
        sigmas: noise level of every evaluation, in order; empty if the run can't be planned.
        times: evaluation times in [0, 1], 1 at the noisiest: the model's timestep over that of its highest noise level.
        stochastic: whether the sampler adds noise between evaluations.
        multistep: whether it continues the trend of earlier predictions, as dpmpp_2m does and Euler does not.
        refusal: why the run can't be planned, or None if it can.
        begin: evaluations that nothing earlier can be a forecast of (see cond_ranges).
        starts: of several samplers' evaluations the first of each but the first; no model has anything to forecast it
            from.
        end: the noise level that the sampler leaves.
    """

    sigmas: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    stochastic: bool = False
    multistep: bool = False
    refusal: Reason | None = None
    begin: Beginnings = Beginnings()
    starts: tuple[int, ...] = ()
    end: float = 0.0

    def followed_by(self, other: Evaluations) -> Evaluations:
        """These and those of a sampler that continues the latent."""
        starts = *self.starts, len(self), *(len(self) + start for start in other.starts)
        return Evaluations(self.sigmas + other.sigmas, self.times + other.times, self.stochastic or other.stochastic,
                           self.multistep or other.multistep, self.refusal or other.refusal, starts=starts,
                           end=other.end)

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def positions(self) -> tuple[int, ...]:
        """The abscissa of every evaluation in forecasts: the rank of its time, so equal times have equal positions.

        For samplers with one evaluation a step this is the step's number. Ranks forecast better than the times
        themselves (measured) where these are unevenly spaced (shifted schedules): the gap that is forecast over is then
        not much wider than the gap that the slope is taken from.
        """
        rounded = [round(time, 6) for time in self.times]
        ranks = {time: rank for rank, time in enumerate(sorted(set(rounded), reverse=True))}
        return tuple(ranks[time] for time in rounded)

    @property
    def levels(self) -> tuple[float, ...]:
        """The noise level at every position, and the one after the last."""
        return *(self.sigmas[i] for i in self._at_positions), self.end

    @property
    def _at_positions(self) -> list[int]:
        """The evaluation at every position; of several the last."""
        last = {position: i for i, position in enumerate(self.positions)}
        return [last[position] for position in sorted(last)]

    def gram_of_positions(self, gram: np.ndarray | None) -> np.ndarray | None:
        """The rows and columns of the evaluations at every position, of a matrix [n, n] of all evaluations."""
        return None if gram is None else gram[np.ix_(self._at_positions, self._at_positions)]

    def expects(self, index: int, sigma: float) -> bool:
        """Whether evaluation `index` was planned at this noise level."""
        return index < len(self) and math.isclose(self.sigmas[index], sigma, rel_tol=SAME_SIGMA, abs_tol=1e-6)


def takes_over(sigmas: Sequence[float] | torch.Tensor, leftover: float) -> bool:
    """Whether noise levels begin where those of another sampler have ended, before its latent was done."""
    return len(sigmas) > 0 and leftover > 0.0 and math.isclose(float(sigmas[0]), leftover, rel_tol=SAME_SIGMA)


def evaluation_times(sigmas, model_sampling) -> tuple[float, ...]:
    """Noise levels as evaluation times in [0, 1] (see `Evaluations.times`)."""
    highest = float(model_sampling.sigma_max)
    top = float(model_sampling.timestep(torch.tensor(highest)))

    def time(sigma: float) -> float:
        step = float(model_sampling.timestep(torch.tensor(max(sigma, 1e-6))))
        # on log scales the timestep is no share of the noisiest one: use sigma
        return step / top if top > 0 and math.isfinite(step) and step >= 0 else sigma / highest

    return tuple(time(sigma) for sigma in sigmas)
