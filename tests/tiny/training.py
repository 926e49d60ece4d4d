"""A training on a workflow of a tiny model, without nodes and without a server."""

from __future__ import annotations

import torch

from recache.caching import Reason, sampler_nodes, workflow
from recache.nodes.training import objective
from recache.nodes.training.request import Progress, Request
from recache.nodes.training.training import train
from recache.policies.learning.checkpoint import Checkpoint
from recache.policies.policy_file import About
from tests.sampling import models
from tests.tiny.families import FAMILIES

N = 12
REQUEST = Request((0.3, 0.5), samples=2, held_out=2, mechanism="taylor", order=1, cache_point="output", evaluations=220)
ABOUT = About("tiny", "0", "Flux", "", "", "euler", "simple", N, 1.0, [], "")


def flow(name: str = "flux", seed: int = 3, prompts: int = 1, cfg: float = 1.0) -> workflow.Workflow:
    family = FAMILIES[name]
    return sampler_nodes.ksampler(
        models(name)[0], [family.conditioning(p) for p in range(prompts)], N, cfg, "euler", "simple", 1.0,
        {"samples": torch.zeros(1, *family.latent_shape)}, seed)


def trained(folder, request=REQUEST, workflow=None, references=None, progress=None, notes=None, vae=None):
    notes = [] if notes is None else notes
    with torch.inference_mode():  # as the executor runs nodes
        checkpoint = Checkpoint(folder, lambda code, **fields: notes.append(Reason(code, fields)))
        return train(workflow or flow(), request, objective.make("auto", vae)[0], checkpoint, ABOUT, references,
                     progress or Progress(), notes)


class Vae:
    """Makes pictures of latents, eight times their size, and counts them."""

    latent_dim = 2

    def __init__(self):
        self.made = 0

    def decode(self, latent):
        self.made += 1
        return torch.nn.functional.interpolate(latent[:, :3].sigmoid(), scale_factor=8).movedim(1, -1)
