"""A demo model as the environment of a learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from recache import caching
from recache.caching.recording import Recording
from recache.nodes.training.rollouts import Rollouts
from recache.policies.learning.environment import Environment
from recache.policies.schedule import Schedule
from tests.bench.demo_models import DemoModel, Sample
from tests.bench.st_lpips import st_lpips

PREFIX_CACHE_BYTES = 1 << 30



class DemoRollouts(Environment):
    """An Environment of a demo model. A Memo around it counts what a learner asks for, sample by sample.

    Args:
        mechanism: its name and order. cache_point: "blocks" or "output".
        judge: one of JUDGES: (these rollouts, latents, the samples they are of) -> costs [batch].
        shares: rollouts of one sample that begin alike compute their beginning once, as in ReCache Train.

    Attributes:
        reference, pictures: uncached outputs of all samples, and what they show.
    """

    @torch.inference_mode()
    def __init__(self, demo: DemoModel, samples: Sequence[Sample], steps: int, mechanism: tuple[str, int],
                 cache_point: str, judge: Callable, shares: bool = True):
        self.shares = shares
        self.n, self.samples = steps, len(samples)
        self.demo, self.judge = demo, judge
        self._samples, self._mechanism, self._cache_point = samples, mechanism, cache_point
        self.reference = demo.sample(demo.model, samples, steps)
        self.pictures = demo.pictures(self.reference)
        self.prefix_cache = caching.PrefixCache(PREFIX_CACHE_BYTES) if shares else None
        self._single = Rollouts(
            *demo.workflow(samples, steps), [], None, *mechanism, cache_point, self.prefix_cache)

    @torch.inference_mode()
    def latents(self, schedule: Schedule) -> torch.Tensor:
        """The cached outputs of all samples."""
        settings = caching.CacheConfig(
            lambda times, cost: schedule.computed, mechanism=self._mechanism[0], order=self._mechanism[1],
            cache_point=self._cache_point)
        latents = self.demo.sample(caching.attach(self.demo.model, settings), self._samples, self.n)
        report = caching.reports_of(settings.identity)[-1]
        if report.computed != list(schedule.indices) or report.cache_point != self._cache_point:
            raise RuntimeError(f"{report.computed} instead of {schedule} at {report.cache_point}: {report.notes}")
        return latents

    @torch.inference_mode()
    def cost(self, schedule: Schedule, sample: int) -> float:
        """See Environment."""
        return float(self.judge(self, self._single.run(schedule, sample), slice(sample, sample + 1)))


@torch.inference_mode()
def record(demo: DemoModel, samples: Sequence[Sample], steps: int, kind: str):
    """The mean inner products of the samples' uncached predictions (see nodes.training.recording)."""
    from comfy.patcher_extension import WrappersMP

    total = 0.0
    for sample in samples:
        recording = Recording(kind)

        def recorder(executor, x, timestep, *args, recording=recording, **kwargs):
            denoised = executor(x, timestep, *args, **kwargs)
            recording(x, denoised, float(timestep.flatten()[0]))
            return denoised

        model = demo.model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "recache.recorder", recorder)
        demo.sample(model, [sample], steps)
        total = total + recording.gram() / len(samples)
    return total


def latent_error(rollouts: DemoRollouts, latents: torch.Tensor, chosen: slice = slice(None)) -> torch.Tensor:
    """What ReCache Train learns by where it has no VAE: root mean square errors [batch]."""
    return (latents - rollouts.reference[chosen]).square().flatten(1).mean(1).sqrt()


def picture_distance(rollouts: DemoRollouts, latents: torch.Tensor, chosen: slice = slice(None)) -> torch.Tensor:
    """ST-LPIPS [batch], the mean over frames."""
    found, wanted = rollouts.demo.pictures(latents), rollouts.pictures[chosen]
    return st_lpips(found.flatten(0, 1), wanted.flatten(0, 1)).unflatten(0, (-1, found.shape[1])).mean(1)


def picture_error(rollouts: DemoRollouts, latents: torch.Tensor, chosen: slice = slice(None)) -> torch.Tensor:
    """What stands in for ReCache Train's LPIPS: the root of ST-LPIPS, as that is of squared differences."""
    return picture_distance(rollouts, latents, chosen).clamp_min(0.0).sqrt()


JUDGES = {"latent": latent_error, "st-lpips": picture_error}
