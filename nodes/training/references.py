"""References: uncached outputs, made and stored in the checkpoint, or given by the artist and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...caching.feature_kind import FeatureKind
from ...caching.recording import Recording
from ...caching.workflow import Sample, Workflow, WorkflowError
from ...policies.learning.checkpoint import Checkpoint
from .objective import Objective
from .samples import SampleSet

SAME_OUTPUT = 0.05  # relative difference up to which outputs count as equal: GPUs do not repeat exactly


@dataclass(frozen=True)
class References:
    """The uncached outputs of some samples.

    Attributes:
        latents: one for each sample, as they are stored.
        decoded: by the objective, one for each sample.
        gram: mean inner products of the recorded runs (see recording), [n, n].
        evaluations: network evaluations of the recorded runs.
    """

    samples: SampleSet
    latents: list[torch.Tensor]
    decoded: list[torch.Tensor]
    gram: np.ndarray
    evaluations: int


def references(workflow: Workflow, samples: SampleSet, objective: Objective, kind: FeatureKind,
               checkpoint: Checkpoint, name: str, on_sample: Callable[[str, int, int], None],
               given: torch.Tensor | None = None,
               prefetch: Callable[[list[int]], None] = lambda numbers: None) -> References:
    """The References of the samples.

    Args:
        kind: of the recording. name: in the checkpoint.
        on_sample: called before every sample with `name`, its number from 1 and the number of samples.
        given: outputs of the first samples, [count, ...]; the first and the last of them are made again as a check.
        prefetch: called with the numbers of the samples that are made; may store some of them in the checkpoint.

    Raises:
        WorkflowError: more given outputs than samples, or outputs that are not of this workflow.
    """
    count, numbers = 0 if given is None else len(given), samples.numbers
    if count > len(numbers):
        raise WorkflowError(f"there are {count} references for {len(numbers)} training samples; raise samples.")
    latents, grams = [], []
    prefetch(numbers[:min(count, 1)] + numbers[max(count - 1, min(count, 1)):])
    for i, sample in enumerate(samples.of(workflow)):
        on_sample(name, i + 1, len(numbers))
        latent = None if i >= count else given[i:i + 1].to("cpu", torch.float32)
        if latent is None or i in (0, count - 1):
            made, gram = _uncached(workflow, sample, kind, checkpoint, f"{name}-{numbers[i]}")
            grams.append(gram)
            if latent is not None:
                _check(latent, made, i)
            latent = made
        latents.append(latent)
    decoded = [objective.decode(latent) for latent in latents]
    return References(samples, latents, decoded, np.mean(grams, 0), sum(map(len, grams)))


def _uncached(workflow: Workflow, sample: Sample, kind: FeatureKind, checkpoint: Checkpoint, name: str,
              ) -> tuple[torch.Tensor, np.ndarray]:
    stored = checkpoint.tensors(name)
    if stored is None or {"latent", "gram"} - set(stored):
        stored = recorded(workflow, sample, kind)
        checkpoint.store(name, stored)
    return stored["latent"], stored["gram"].numpy()


def recorded(workflow: Workflow, sample: Sample, kind: FeatureKind) -> dict[str, torch.Tensor]:
    """An uncached output and the inner products of its recorded features, as a checkpoint stores them."""
    recording = Recording(kind)
    latent = workflow.reference(sample, recording)
    return {"latent": latent, "gram": torch.from_numpy(recording.gram())}


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square difference over b's standard deviation; infinite for other shapes."""
    return float((a - b).square().mean().sqrt() / b.std()) if a.shape == b.shape else float("inf")


def _check(given: torch.Tensor, made: torch.Tensor, index: int) -> None:
    if given.shape != made.shape:
        raise WorkflowError(f"reference {index} has the size {list(given.shape[1:])} and this workflow makes "
                            f"{list(made.shape[1:])}; connect the uncached outputs of this very workflow.")
    difference = relative_difference(given, made)
    if not difference <= SAME_OUTPUT:
        raise WorkflowError(f"reference {index} is not what this workflow makes without a cache (it differs by "
                            f"{difference:.0%}); connect its uncached outputs, or none.")
