"""The objective of a training: a metric of latents, or of the pictures that a VAE decodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...caching import Reason
from ...caching.workflow import WorkflowError
from ...policies.metrics import distances, rewards
from ...policies.metrics.metric import LATENT_RMSE, Metric, perceptual, rooted

DISTANCES = ("auto", "latent", "lpips", "ssim")
REWARDS = ("none", "clip quality", "clip prompt")


def decode_pictures(vae, latent: torch.Tensor) -> torch.Tensor:
    """Pictures [1, height, width, 3] or [1, frames, height, width, 3] in 0..1, half precision, on the CPU.

    Raises:
        WorkflowError: the VAE decodes pictures and the latent is a video.
    """
    if vae.latent_dim == 2 and latent.ndim == 5 and latent.shape[2] > 1:
        raise WorkflowError("the VAE makes pictures and this workflow videos; connect the video model's VAE, or none.")
    with torch.inference_mode():
        return vae.decode(latent).clamp(0.0, 1.0).to("cpu", torch.float16)


@dataclass(frozen=True)
class Objective:
    """A metric, and the VAE that decodes latents for it.

    Attributes:
        vae: the host's VAE of the model; None for a metric of latents.
        pictures: the part of an output that the VAE decodes (see Workflow.pictures).
    """

    metric: Metric = LATENT_RMSE
    vae: object = None
    pictures: Callable[[torch.Tensor], torch.Tensor] = lambda output: output

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric.name

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """What the metric compares, on the CPU: the output [1, ...] itself, or its pictures (see decode_pictures)."""
        return decode_pictures(self.vae, self.pictures(latent)) if self.metric.of_pictures else latent

    def cost(self, decoded: torch.Tensor, reference: torch.Tensor) -> float:
        """The metric of a decoded output and a decoded uncached one; lower is better."""
        return float(self.metric(decoded, reference))


def metric_notes(metric: Metric) -> list[Reason]:
    """That the metric stands in for LPIPS, and why; none where it does not."""
    missing = metric.missing
    return [] if missing is None else [Reason("lpips_missing", {"because": Reason(missing.code, missing.fields)})]


@dataclass(frozen=True)
class Objectives:
    """Of a training: `learn` on training samples, `choose` on held-out ones and for the report."""

    learn: Objective
    choose: Objective


def make(distance: str, vae=None, reward: str = "none", alpha: float = 0.0, clip_vision=None, clip=None,
         prompt: str = "", pictures: Callable[[torch.Tensor], torch.Tensor] = lambda output: output,
         ) -> tuple[Objectives, list[Reason]]:
    """The objectives that an artist chose, and what replaces what is not available.

    Args:
        distance: one of DISTANCES. "auto" learns by the latents' error, which needs no decoding, and with a VAE chooses
            by LPIPS, or SSIM where LPIPS is not available: pictures show what latents miss. With a reward it learns by
            pictures too.
        reward: one of REWARDS; those of CLIP need a VAE, `clip_vision` and `clip` of one CLIP.
        pictures: see Objective.

    Raises:
        WorkflowError: a choice needs an input that is not connected.
    """
    if distance not in ("auto", "latent") and vae is None:
        raise WorkflowError(f"the distance {distance} compares pictures; connect the VAE, or choose latent.")
    if reward != "none" and (vae is None or clip_vision is None or clip is None):
        raise WorkflowError(
            "a reward looks at pictures; connect the VAE, a CLIP vision model and its CLIP, or choose none.")
    if reward != "none" and distance == "latent":
        raise WorkflowError("a reward looks at pictures; choose a distance between pictures, or no reward.")
    if vae is None or distance == "latent":
        return Objectives(Objective(), Objective()), []
    metric = rooted(Metric("1 - SSIM", distances.ssim) if distance == "ssim" else perceptual())
    notes = metric_notes(metric)
    if reward == "none" or not alpha:
        by_pictures = Objective(metric, vae, pictures)
        return Objectives(Objective() if distance == "auto" else by_pictures, by_pictures), notes
    rewarded = Objective(
        Metric(f"{metric.name} - {alpha:g} {reward}", metric.distance, _reward(reward, clip_vision, clip, prompt),
               alpha), vae, pictures)
    return Objectives(rewarded, rewarded), notes


def _reward(reward: str, clip_vision, clip, prompt: str) -> rewards.Reward:
    def embed(pictures: torch.Tensor) -> torch.Tensor:
        return clip_vision.encode_image(pictures)["image_embeds"]

    def text(words: str) -> torch.Tensor:
        return clip.encode_from_tokens(clip.tokenize(words), return_pooled=True)[1][0].float()

    if reward == "clip quality":
        made = rewards.ClipQuality(embed, text("Good photo."), text("Bad photo."))
    else:
        made = rewards.ClipSimilarity(embed, text(prompt))
    try:
        made(torch.zeros(1, 64, 64, 3))
    except (RuntimeError, TypeError, AttributeError):
        raise WorkflowError(
            "the CLIP vision model and the CLIP do not belong together; connect both of one CLIP.") from None
    return made
