"""Sets of samples of a workflow that any process with the same workflow makes alike."""

from __future__ import annotations

from dataclasses import dataclass

from ...caching.workflow import Sample, Workflow
from .request import Request, held_out_noises

HELD_OUT_SEED = 0x5EED  # added to the seed for the held-out samples


@dataclass(frozen=True)
class SampleSet:
    """Samples by number, of all that a workflow makes with so many noises of every prompt from a seed.

    Attributes:
        numbers: of the samples, which checkpoints know them by.
    """

    noises: int
    seed: int
    numbers: list[int]

    def of(self, workflow: Workflow) -> list[Sample]:
        """The samples."""
        every = workflow.samples(self.noises, self.seed)
        return [every[number] for number in self.numbers]


def training_samples(workflow: Workflow, request: Request) -> SampleSet:
    """All noises of all prompts."""
    return SampleSet(request.samples, workflow.seed, list(range(request.samples * len(workflow.guiders))))


def held_out_samples(workflow: Workflow, request: Request) -> SampleSet:
    """Of the prompts in turn."""
    noises = held_out_noises(request.samples)
    return SampleSet(noises, (workflow.seed + HELD_OUT_SEED) % 2**64, workflow.in_turn(request.held_out, noises))
