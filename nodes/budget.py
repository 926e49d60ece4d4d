"""ReCache Budget: how much of a sampling run is computed."""

from __future__ import annotations

from comfy_api.latest import io

from .. import caching
from ..caching import model_identity
from ..policies.policy_file import PolicyFile
from .inputs import PolicyNode, caching_inputs, hidden_input, policy_inputs
from .library import embed
from .library.ranking import Target
from .library.resolve import PolicyChoice
from .server import prompt_info
from .server.run_state import RunMonitor


class ReCacheBudget(PolicyNode):
    """Wraps a MODEL so that every sampling run computes a share of its evaluations and forecasts the rest."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheBudget",
            display_name="ReCache Budget",
            category="model/recache",
            description=(
                "Makes sampling faster by an amount that you choose: the network computes only the share of the "
                "evaluations that the budget pays for, and the rest is forecast from what it computed before. "
                "Put it last before the sampler, after LoRAs and other model nodes."),
            search_aliases=[
                "cache", "speed up", "faster", "accelerate", "skip steps", "recache", "teacache", "easycache",
                "lazycache", "magcache", "wavespeed", "first block cache", "fbcache", "deepcache", "taylorseer",
                "hicache", "dicache", "cache-dit", "缓存", "加速", "キャッシュ", "高速化", "캐시", "가속"],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            not_idempotent=True,  # a run is shown on the node that set it up, so two nodes can't share one output
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion model: FLUX, Wan, HunyuanVideo, Qwen-Image, SDXL, ..."),
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
            ],
            outputs=[io.Model.Output(tooltip="The model with ReCache, for the sampler (and ReCache Report).")],
        )

    @classmethod
    def execute(cls, model, budget: float, policy: str, evaluations: str = "", mechanism: str = "taylor",
                order: int = 1, cache_point: str = "auto", cache_device: str = "auto",
                trained: PolicyFile | None = None) -> io.NodeOutput:
        node_id = hidden_input(cls, "unique_id")
        try:
            layout = model_identity.layout(model.model.diffusion_model)
            properties = prompt_info.properties_of(hidden_input(cls, "extra_pnginfo"), node_id)
            origin = embed.stated_origin(properties, policy)
            choice = PolicyChoice(
                policy, layout, Target(mechanism, order, cache_point, budget), evaluations, trained, origin)
            monitor = RunMonitor(node_id, model, layout, cache_point, trained)
            config = caching.CacheConfig(
                mechanism=mechanism, order=order, cache_point=cache_point, cache_device=cache_device,
                computes_all=budget >= 1.0 and (trained is not None or policy != "list"),
                evaluated=monitor.evaluated, published=monitor.published, for_run=choice.for_run)
            config = choice.for_run(config, caching.RunSettings())  # what is wrong with a file or list is said at once
        except ValueError as error:
            raise ValueError(f"ReCache Budget: {error}") from None
        return io.NodeOutput(caching.attach(model, config))
