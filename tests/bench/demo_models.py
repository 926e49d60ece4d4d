"""The trained models under the real host: prompts that training never saw, a noise for each, pictures.

Call ``load`` only in a process where the host was started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tests.host_nodes import text
from tests.trained import data, train

FLUX_SHIFT = 3.0  # near what FLUX.1 dev uses at its own sizes; Wan's own, 8, comes with its architecture
NAMES = ("flux", "flux_8_steps", "flux_4_steps", "wan")  # the middle two are distilled, and run without guidance
DECODED = 2  # pictures at a time: on a CPU twice as fast as 64
WEIGHTS = Path(train.__file__).parent / "weights"


@dataclass(frozen=True)
class Sample:
    """A prompt and the seed of its noise."""

    prompt: str
    seed: int


@dataclass
class DemoModel:
    """A trained model and the settings that it is measured at.

    Attributes:
        name: one of NAMES, also the stem of the weights.
        latent: shape of a latent without the batch.
        dims: width of the text tokens and of the pooled vector (0: none).
        cfg: classifier-free guidance.
        batch: samples in one run.
    """

    name: str
    latent: tuple[int, ...]
    dims: tuple[int, int]
    cfg: float
    batch: int
    sampler: str = "euler"
    scheduler: str = "simple"
    model: object = field(default=None, repr=False)
    vae: object = field(default=None, repr=False)

    def samples(self, count: int, first: int = 0) -> list[Sample]:
        """`count` different prompt-seed pairs; the prompts are pairings that training left out."""
        _, names, video_count = data.read_names()
        colours = list(data.COLOURS)
        held_out = [
            (p, c) for c in range(len(colours)) for p in range(video_count if self.name == "wan" else len(names))
            if data.is_held_out(p, c)]
        found = []
        for i in range(first, first + count):
            picture, colour = held_out[(i * 37) % len(held_out)]
            prompt = (data.video_caption(names[picture], data.MOTIONS[i % len(data.MOTIONS)], colours[colour])
                      if self.name == "wan" else data.image_caption(names[picture], colours[colour]))
            found.append(Sample(prompt, 1000 + i))
        return found

    def _conditioning(self, prompts: Sequence[str]) -> list:
        encoded = [text.encode(prompt, *self.dims) for prompt in prompts]
        tokens, pooled = (torch.stack(part) for part in zip(*encoded))
        return [[tokens, {"pooled_output": pooled} if self.dims[1] else {}]]

    def sample(self, model, samples: Sequence[Sample], steps: int, sigmas: torch.Tensor | None = None) -> torch.Tensor:
        """Latents [len(samples), ...] of the host's own sampling, `self.batch` at a time.

        Args:
            sigmas: [steps + 1] in place of the scheduler's.
        """
        import comfy.sample

        latents = []
        for start in range(0, len(samples), self.batch):
            part = samples[start:start + self.batch]
            noise = torch.stack([self._noise(s) for s in part])
            latents.append(comfy.sample.sample(
                model, noise, steps, self.cfg, self.sampler, self.scheduler,
                self._conditioning([s.prompt for s in part]), self._conditioning([""] * len(part)),
                torch.zeros_like(noise), disable_pbar=True, seed=0, sigmas=sigmas))
        return torch.cat(latents)

    def workflow(self, samples: Sequence[Sample], steps: int, batch: int = 1) -> tuple:
        """The same runs as ReCache Train makes them: its Workflow, the number of evaluations, its samples.

        Args:
            batch: samples in one run.
        """
        from recache.caching import sampler_nodes, workflow

        batches = [samples[start:start + batch] for start in range(0, len(samples), batch)]
        prompts = [(self._conditioning([s.prompt for s in part]), self._conditioning([""] * len(part)))
                   for part in batches]
        run = sampler_nodes.ksampler(self.model, prompts, steps, self.cfg, self.sampler, self.scheduler, 1.0,
                                {"samples": torch.zeros(1, *self.latent)}, 0)
        return run, len(run.dry_run()), [
            workflow.Sample(i, torch.stack([self._noise(s) for s in part]), torch.zeros(len(part), *self.latent), None)
            for i, part in enumerate(batches)]

    def _noise(self, sample: Sample) -> torch.Tensor:
        return torch.randn(self.latent, generator=torch.Generator().manual_seed(sample.seed))

    def pictures(self, latents: torch.Tensor) -> torch.Tensor:
        """Decoded by the stock VAE: [B, frames, 3, height, width] in [0, 1]; one frame for images."""
        from tests.host_nodes.nodes import FramesToBatch

        frames = latents.shape[2] if latents.ndim == 5 else 1
        flat = latents if latents.ndim == 4 else FramesToBatch.execute({"samples": latents}).args[0]["samples"]
        images = torch.cat([self.vae.decode(part) for part in flat.split(DECODED)])
        return images.movedim(-1, 1).unflatten(0, (-1, frames)).clamp(0, 1)


def load(name: str, models_dir: Path) -> DemoModel:
    """One of NAMES, through the stock UNETLoader and VAELoader; `models_dir` is the host's models folder."""
    import shutil

    from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow
    from nodes import UNETLoader, VAELoader

    for stem, folder in ((name, "diffusion_models"), ("autoencoder", "vae")):
        target = models_dir / folder / f"demo_{stem}.safetensors"  # tests write models of other names
        if not target.exists():
            shutil.copy(WEIGHTS / f"{stem}.safetensors", target)
    if name == "wan":
        demo = DemoModel("wan", (16, train.VIDEO_FRAMES, 12, 12), text.DIMENSIONS["wan"], cfg=2.0, batch=4)
    else:
        demo = DemoModel(name, (16, 16, 16), text.DIMENSIONS["flux"], cfg=2.0 if name == "flux" else 1.0, batch=16)
    demo.model = UNETLoader().load_unet(f"demo_{name}.safetensors", "default")[0]
    if name != "wan":
        demo.model = ModelSamplingAuraFlow().patch_aura(demo.model, FLUX_SHIFT)[0]
    if torch.cuda.is_available():
        demo.batch = 64
    demo.vae = VAELoader().load_vae("demo_autoencoder.safetensors")[0]
    return demo
