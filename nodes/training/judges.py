"""What a cached output is compared by: its latent, or the pictures that a VAE makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from ...caching.workflow import WorkflowError
from ...policies.metrics import distances, rewards

DISTANCES = ("auto", "latent", "lpips", "ssim")
REWARDS = ("none", "clip quality", "clip prompt")


class Judge(Protocol):
    """Says how far a cached output is from the uncached one.

    Attributes:
        name: such as "latent RMSE".
    """

    name: str

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """What is compared, on the CPU: the latent [1, ...] itself, or pictures made of it."""
        ...

    def cost(self, seen: torch.Tensor, reference: torch.Tensor) -> float:
        """L = d(cached, uncached) - alpha R(cached); lower is better."""
        ...


class LatentJudge:
    """Root mean square error of latents.

    The root keeps one hard sample from deciding alone: on the trained FLUX demo model with four samples, squared errors
    chose a schedule with twice the ST-LPIPS on held-out samples.
    """

    name = "latent RMSE"

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return latent

    def cost(self, seen: torch.Tensor, reference: torch.Tensor) -> float:
        return float(distances.latent_mse(seen, reference).sqrt())


def pictures_of(vae, latent: torch.Tensor) -> torch.Tensor:
    """Pictures [1, height, width, 3] or [1, frames, height, width, 3] in 0..1, half precision, on the CPU.

    Raises:
        WorkflowError: the VAE is not of this latent's kind.
    """
    if vae.latent_dim == 2 and latent.ndim == 5 and latent.shape[2] > 1:
        raise WorkflowError("the VAE makes pictures and this workflow videos; connect the video model's VAE, or none.")
    with torch.inference_mode():
        return vae.decode(latent).clamp(0.0, 1.0).to("cpu", torch.float16)


class PictureJudge:
    """A distance between decoded pictures, or between the frames of videos, and a reward for good ones.

    Args:
        vae: the host's VAE of the model.
        distance, reward: see policies; alpha: what the reward weighs, 0 or more.
    """

    def __init__(self, vae, distance: distances.Distance, name: str, reward: rewards.Reward = rewards.none,
                 alpha: float = 0.0):
        self.name = name
        self._vae, self._distance, self._reward, self._alpha = vae, distance, reward, alpha

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return pictures_of(self._vae, latent)

    def cost(self, seen: torch.Tensor, reference: torch.Tensor) -> float:
        return float(rewards.image_loss(seen.float(), reference.float(), self._distance, self._reward, self._alpha))


@dataclass(frozen=True)
class Judges:
    """What schedules are compared by: `learn` on training samples, `choose` on held-out ones, also for the report."""

    learn: Judge
    choose: Judge


def make(distance: str, vae=None, reward: str = "none", alpha: float = 0.0, clip_vision=None, clip=None,
         prompt: str = "") -> tuple[Judges, list[str]]:
    """The judges that an artist chose, and sentences on what was used instead of what can't be had.

    Args:
        distance: one of DISTANCES. "auto" learns by the latents' error, which takes no decoding, and with a VAE chooses
            by LPIPS, or SSIM where LPIPS can't be had: pictures show what latents miss. With a reward it learns by
            pictures too.
        reward: one of REWARDS; those of CLIP need a VAE, `clip_vision` and `clip` of one CLIP.

    Raises:
        WorkflowError: something that is chosen needs something that is not connected.
    """
    if distance not in ("auto", "latent") and vae is None:
        raise WorkflowError(f"the distance {distance} compares pictures; connect the VAE, or choose latent.")
    if reward != "none" and (vae is None or clip_vision is None or clip is None):
        raise WorkflowError(
            "a reward looks at pictures; connect the VAE, a CLIP vision model and its CLIP, or choose none.")
    if reward != "none" and distance == "latent":
        raise WorkflowError("a reward looks at pictures; choose a distance between pictures, or no reward.")
    if vae is None or distance == "latent":
        return Judges(LatentJudge(), LatentJudge()), []
    measure, name, notes = (distances.ssim, "1 - SSIM", []) if distance == "ssim" else distances.perceptual()
    measure, name = _root(measure), f"root of {name}"
    if reward == "none" or not alpha:
        judge = PictureJudge(vae, measure, name)
        return Judges(LatentJudge() if distance == "auto" else judge, judge), notes
    rewarded = _reward(reward, clip_vision, clip, prompt)
    judge = PictureJudge(vae, measure, f"{name} - {alpha:g} {reward}", rewarded, alpha)
    return Judges(judge, judge), notes


def _root(distance: distances.Distance) -> distances.Distance:
    """The root of a distance that grows with squared differences, for what LatentJudge says of roots."""
    return lambda a, b: distance(a, b).clamp_min(0.0).sqrt()


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
