"""A demo model as the environment of a learner: one sample at a time or all in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from recache import caching
from recache.nodes.training.recording import Recording
from recache.nodes.training.rollouts import Rollouts
from recache.policies.schedule import Schedule
from tests.bench.demo_models import DemoModel, Sample

ANSWERS_BYTES = 1 << 30

Judge = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class DemoRollouts:
    """An Environment (see policies.environment). A Memo around it counts what a learner asks for, sample by sample.

    Args:
        mechanism: its name and order. cache_point: "blocks" or "output".
        judge: (latents, reference latents) -> costs [batch].
        together: run all samples in one batch, which is faster for a learner that asks for all of them.
        sharing: rollouts of one sample that begin alike compute their beginning once, as in ReCache Train; not those
            of all samples together.

    Attributes:
        reference, pictures: uncached outputs of all samples, and what they show.
    """

    @torch.inference_mode()
    def __init__(self, demo: DemoModel, samples: Sequence[Sample], steps: int, mechanism: tuple[str, int],
                 cache_point: str, judge: Judge, together: bool = False, sharing: bool = True):
        self.together, self.sharing = together, sharing
        self.n, self.samples = steps, len(samples)
        self.demo, self.judge = demo, judge
        self._samples, self._mechanism, self._cache_point = samples, mechanism, cache_point
        self._costs: dict[tuple[tuple[bool, ...], int], float] = {}
        self.reference = demo.sample(demo.model, samples, steps)
        self.pictures = demo.pictures(self.reference)
        self.answers = caching.Answers(ANSWERS_BYTES) if sharing else None
        self._single = Rollouts(
            *demo.workflow(samples, steps), [], None, *mechanism, cache_point, self.answers)

    @property
    def shares(self) -> bool:
        """See Environment."""
        return self.sharing and not self.together

    @torch.inference_mode()
    def latents(self, schedule: Schedule, chosen: slice = slice(None)) -> torch.Tensor:
        """The cached outputs of the chosen samples."""
        settings = caching.Settings(
            lambda times, cost: schedule.computed, mechanism=self._mechanism[0], order=self._mechanism[1],
            cache_point=self._cache_point)
        latents = self.demo.sample(caching.attach(self.demo.model, settings), self._samples[chosen], self.n)
        report = caching.reports_of(settings.identity)[-1]
        if report.computed != list(schedule.indices) or report.cache_point != self._cache_point:
            raise RuntimeError(f"{report.computed} instead of {schedule} at {report.cache_point}: {report.notes}")
        return latents

    @torch.inference_mode()
    def cost(self, schedule: Schedule, sample: int) -> float:
        """See Environment."""
        if (schedule.computed, sample) not in self._costs:
            chosen = slice(None) if self.together else slice(sample, sample + 1)
            latents = self.latents(schedule) if self.together else self._single.run(schedule, sample)
            costs = self.judge(latents, self.reference[chosen]).tolist()
            for i, cost in zip(range(self.samples)[chosen], costs):
                self._costs[schedule.computed, i] = cost
        return self._costs[schedule.computed, sample]


@torch.inference_mode()
def record(demo: DemoModel, samples: Sequence[Sample], steps: int, directed: bool, of_residual: bool):
    """The mean inner products of the samples' uncached predictions (see nodes.training.recording)."""
    from comfy.patcher_extension import WrappersMP

    total = 0.0
    for sample in samples:
        recording = Recording(directed, of_residual)

        def recorder(executor, x, timestep, *args, recording=recording, **kwargs):
            denoised = executor(x, timestep, *args, **kwargs)
            recording(x, denoised, float(timestep.flatten()[0]))
            return denoised

        model = demo.model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "recache.recorder", recorder)
        demo.sample(model, [sample], steps)
        total = total + recording.gram() / len(samples)
    return total


def latent_error(latents: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """What ReCache Train learns by where it has no VAE: root mean square errors [batch]."""
    return (latents - reference).square().flatten(1).mean(1).sqrt()
