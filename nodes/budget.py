"""ReCache: how much of a sampling run is computed, by one model or by two in turn."""

from __future__ import annotations

from comfy_api.latest import io

from .. import caching
from ..caching import model_identity
from ..policies.policy_file import PolicyFile
from .inputs import PolicyNode, caching_inputs, hidden_input, policy_inputs
from .library import embed
from .library.ranking import Target
from .library.resolve import PolicyChoice
from .library.trajectory import Trajectory
from .server import prompt_info
from .server.run_state import RunMonitor

ALIASES = [
    "cache", "speed up", "faster", "accelerate", "skip steps", "recache", "teacache", "easycache", "lazycache",
    "magcache", "wavespeed", "fbcache", "deepcache", "taylorseer", "hicache", "dicache",
    "cache-dit", "缓存", "加速", "キャッシュ", "高速化", "캐시", "가속"]


def budget_inputs() -> list[io.Input]:
    """The budget, the policy, and how evaluations are cached."""
    return [
        io.Float.Input(
            "budget", default=0.3, min=0.05, max=1.0, step=0.01, display_mode=io.NumberDisplay.slider,
            tooltip="Share of the full compute that a run may spend. 0.3 of 50 steps computes 15 and is about "
                    "3.3x faster; 1.0 changes nothing, to the bit. Lower is faster and further from the "
                    "original."),
        *policy_inputs("list", tooltip="list: those written under evaluations; the budget is not used then. "),
        io.String.Input(
            "evaluations", default="", optional=True, advanced=True,
            tooltip="With policy 'list': the evaluations to compute, counted from 0, such as 0-3, 6, 10, 15. "
                    "Evaluation 0 is always needed."),
        *caching_inputs(),
        io.Combo.Input(
            "cache_device", options=["auto", "cpu"], default="auto", optional=True, advanced=True,
            tooltip="auto keeps features on the GPU. cpu keeps them in main memory: slower, for when the GPU "
                    "is full."),
    ]


def budget_config(node: type[io.ComfyNode], model, budget: float, policy: str, evaluations: str = "",
              mechanism: str = "taylor", order: int = 1, cache_point: str = "auto", cache_device: str = "auto",
              trained: PolicyFile | None = None, together: bool = False) -> caching.CacheConfig:
    """The configuration that a node with `budget_inputs` gives its MODELs.

    Args:
        model: the MODEL, of several the first.
        together: whether samplers that work on one latent in turn share the budget.
    """
    node_id = hidden_input(node, "unique_id")
    try:
        layout = model_identity.layout(model.model.diffusion_model)
        properties = prompt_info.properties_of(hidden_input(node, "extra_pnginfo"), node_id)
        origin = embed.stated_origin(properties, policy)
        choice = PolicyChoice(
            policy, layout, Target(mechanism, order, cache_point, budget), evaluations, trained, origin)
        monitor = RunMonitor(node_id, model, layout, cache_point, trained)
        config = caching.CacheConfig(
            mechanism=mechanism, order=order, cache_point=cache_point, cache_device=cache_device, continues=together,
            computes_all=budget >= 1.0 and (trained is not None or policy != "list"),
            evaluated=monitor.evaluated, published=monitor.published,
            for_run=Trajectory(choice, monitor).for_run if together else choice.for_run)
        return choice.for_run(config, caching.RunSettings())  # what is wrong with a file or list is said at once
    except ValueError as error:
        raise ValueError(f"ReCache: {error}") from None


class ReCacheBudget(PolicyNode):
    """Wraps a MODEL so that every sampling run computes a share of its evaluations and forecasts the rest."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheBudget",
            display_name="ReCache",
            category="model/recache",
            description=(
                "Makes sampling faster by an amount that you choose: the network computes only the share of the "
                "evaluations that the budget pays for, and the rest is forecast from what it computed before. "
                "Put it last before the sampler, after LoRAs and other model nodes."),
            # Of two that match alike, the page lists the one first whose id is about as long as what was typed.
            search_aliases=[*ALIASES, "first block cache"],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            not_idempotent=True,  # a run is shown on the node that set it up, so two nodes can't share one output
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion model: FLUX, Wan, HunyuanVideo, Qwen-Image, SDXL, ..."),
                *budget_inputs(),
            ],
            outputs=[io.Model.Output(tooltip="The model with ReCache, for the sampler (and ReCache Report).")],
        )

    @classmethod
    def execute(cls, model, budget: float, policy: str, **settings) -> io.NodeOutput:
        return io.NodeOutput(caching.attach(model, budget_config(cls, model, budget, policy, **settings)))


class ReCacheBudgetTwoModels(PolicyNode):
    """Wraps two MODELs that work on one latent in turn, such as Wan 2.2's experts, under one budget for both."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheBudgetTwoModels",
            display_name="ReCache (Two Models)",
            category="model/recache",
            description=(
                "ReCache for workflows in which two models share the steps, such as Wan 2.2 14B with its high "
                "noise and low noise models: one budget for both, kept exactly over all steps. Put it last before "
                "the two samplers; the second one has to take up the first one's latent with its leftover noise."),
            search_aliases=[*ALIASES, "wan 2.2", "two experts", "high noise", "low noise", "moe", "refiner"],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            not_idempotent=True,  # as of ReCacheBudget
            inputs=[
                io.Model.Input("high_noise", tooltip="The model of the first sampler, which begins with pure noise."),
                io.Model.Input("low_noise", tooltip="The model of the second sampler, which goes on with the latent."),
                *budget_inputs(),
            ],
            outputs=[
                io.Model.Output(display_name="high_noise", tooltip="For the first sampler."),
                io.Model.Output(
                    display_name="low_noise",
                    tooltip="For the second sampler, and for ReCache Report, which then tells of both."),
            ],
        )

    @classmethod
    def execute(cls, high_noise, low_noise, budget: float, policy: str, **settings) -> io.NodeOutput:
        config = budget_config(cls, high_noise, budget, policy, together=True, **settings)
        return io.NodeOutput(caching.attach(high_noise, config), caching.attach(low_noise, config))
