"""The inputs of ReCache Train as a training: its workflow, request, objectives, and the name of its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ...caching import Reason, model_identity
from ...caching.workflow import Workflow
from ...policies.budget import listed
from ...policies.policy_file import About
from ..library.version import VERSION
from . import objective
from .objective import Objectives
from .request import Request, noises
from .sampler_inputs import Sampling


@dataclass(frozen=True)
class Prepared:
    """A training before it begins.

    Attributes:
        about: metadata of the policy file, as far as it is known.
        fingerprint: of everything that its costs depend on.
        notes: for the artist.
    """

    workflow: Workflow
    request: Request
    objectives: Objectives
    about: About
    fingerprint: str
    notes: list[Reason]


def prepare(sampled: Sampling, *, budgets: str, samples: int, evaluations: int, minutes: float, mechanism: str,
            order: int, cache_point: str, distance: str, reward: str, alpha: float, vae=None, clip_vision=None,
            clip=None, prompt: str = "", prompts: tuple = (), quick: bool = False, **connected) -> Prepared:
    """The training of a node with these inputs.

    Raises:
        ValueError: they do not fit together; the message is a sentence for the artist.
    """
    prompts = prompts[:1] if quick else prompts
    samples, held_out = noises(1 + len(prompts), samples, quick)
    request = Request(listed(budgets), samples, held_out, mechanism, order, cache_point, evaluations, minutes, quick)
    flow = sampled.workflow(prompts, **connected)
    if distance == "auto" and flow.has_parts and reward == "none":
        distance = "latent"  # pictures tell nothing of the sound
    objectives, notes = objective.make(distance, vae, reward, alpha, clip_vision, clip, prompt, flow.pictures)
    about = About(
        name="trained policy", pack_version=VERSION, model_family=model_identity.family(flow.model),
        model_identity={"layout": model_identity.layout(flow.model.model.diffusion_model)}, mechanism=mechanism,
        cache_point=cache_point, sampler=model_identity.sampler_name(flow.sampler), scheduler=flow.scheduler,
        steps=flow.steps, cfg=flow.cfg, size=model_identity.size_of(flow.model, flow.latent.shape),
        shift=model_identity.shift_of(flow.model), reward=objectives.choose.name)
    fingerprint = model_identity.fingerprint(
        model_identity.contents(flow.model), [guider.original_conds for guider in flow.guiders], about.sampler,
        flow.cfg, getattr(flow.sampler, "extra_options", {}), flow.sigmas, flow.joined(flow.latent), flow.mask,
        flow.seed, mechanism, order, cache_point, samples, objectives.learn.name, objectives.choose.name, prompt,
        None if vae is None else vae.first_stage_model.state_dict(),
        *((model_identity.contents(model), flow.boundary) for model in flow.models[1:]))
    return Prepared(flow, request, objectives, about, fingerprint, notes)
