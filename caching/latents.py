"""Tells apart the latents that a sampler asks the same conds about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import torch

SAMPLED = 4096  # numbers of a latent, which are enough to tell it from others
ORDER = 4  # predictions of so many evaluations give a solver's next input; linear multistep is the host's longest
OPPOSITE = -0.5  # cosine; a solver's step from noise to data gives one of about 0, which may be below 0
OTHER = 0.3  # share of an input that they leave unexplained in another latent; in the same some thousandths (measured)
MOST = 4  # latents that are told apart in one call


@dataclass
class Latent:
    """A latent of the sampler, as it was when the model was last asked about it.

    Attributes:
        number: 0, 1, ... in the order in which they came.
        evaluation: of that time.
        shape: of the input.
        x: a sample of the input.
        answers: samples of all predictions since, newest first, a list for each evaluation that asked about it.
    """

    number: int
    evaluation: int
    shape: torch.Size
    x: torch.Tensor
    answers: list[list[torch.Tensor]] = field(default_factory=list)

    def unexplained(self, shape: torch.Size, x: torch.Tensor) -> float:
        """How much of another input (its shape and a sample of it) does not follow from this one, in 0..1.

        A solver's next input is a weighted sum of its last one and of the predictions so far (Euler: x + (x - denoised)
        (sigma' / sigma - 1)), so such a sum is fitted to it.
        """
        if shape != self.shape:
            return 1.0
        vectors = torch.stack([x, self.x, *(
            answer for answers in self.answers for answer in answers if answer.shape == x.shape)])
        vectors = vectors.cpu().double()  # not every device has such precision
        products = vectors @ vectors.T
        own, others = products[0, 1:], products[1:, 1:]
        if not products.isfinite().all() or products[0, 0] == 0.0:
            return 0.0
        if own[0] < OPPOSITE * (products[0, 0] * products[1, 1]) ** 0.5:
            return 1.0
        explained = float(own @ torch.linalg.pinv(others, rtol=1e-9, hermitian=True) @ own / products[0, 0])
        return max(0.0, 1.0 - explained) ** 0.5


class Latents:
    """The latents of a run, by the calls that ask about them.

    Args:
        told_apart: False where the sampler adds noise, so that nothing follows from anything.
    """

    def __init__(self, told_apart: bool):
        self.told_apart = told_apart
        self._evaluation = 0
        self._of: dict[tuple, list[Latent]] = {}  # the newest last
        self._numbers: dict[tuple, count] = {}
        self._answers: dict[tuple[int, ...], list[torch.Tensor]] = {}  # of the current evaluation, by window
        self._window: tuple[int, ...] = ()

    def begin_evaluation(self, needed: bool) -> None:
        """What is answered from here on belongs to another evaluation.

        Args:
            needed: whether there is still something to forecast.
        """
        self.told_apart &= needed
        self._evaluation += 1
        self._answers = {}

    def number(self, call: tuple, window: tuple[int, ...], x: torch.Tensor) -> int:
        """Which latent `x` is, of those that `call` has asked about in this context window (frames)."""
        if not self.told_apart:
            return 0
        self._window = window
        latents, sample = self._of.setdefault(call, []), _sample(x)
        if latents and self._evaluation - latents[-1].evaluation > ORDER:  # too long to be followed: count anew
            latents, self._numbers[call] = [], count()
        left = [latent.unexplained(x.shape, sample) for latent in latents]
        nearest = min(range(len(left)), key=left.__getitem__, default=None)
        if nearest is not None and left[nearest] < OTHER:
            last = latents.pop(nearest)
            number, past = last.number, last.answers
        else:
            number, past = next(self._numbers.setdefault(call, count())), []
        answers = [self._answers.setdefault(window, []), *past[: ORDER - 1]]
        asked = Latent(number, self._evaluation, x.shape, sample, answers)
        self._of[call] = [*latents, asked][-MOST:]
        return number

    def answer(self, outs: Sequence[torch.Tensor]) -> None:
        """Predictions of this evaluation: guidance may mix those of all its calls into the next input."""
        if self.told_apart:
            self._answers.setdefault(self._window, []).extend(map(_sample, outs))


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.flatten()
    return flat[:: -(-flat.numel() // SAMPLED)].float().clone()
