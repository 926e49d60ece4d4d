"""ReCache Budget: how much of a sampling run is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comfy_api.latest import io

from .. import caching
from ..policies.budget import computed_for_budget
from ..policies.policy_file import PolicyFile
from ..policies.schedule import explicit
from . import picking, queued, sharing
from .choosing import acceptable, caching_inputs, policy_inputs
from .display import show_report, show_text


def listed_schedule(text: str) -> Callable[[Sequence[float], float], tuple[bool, ...]]:
    """The schedule that an artist wrote down, for the engine."""
    return lambda times, cached_cost: explicit(text, len(times)).computed


class ReCacheBudget(io.ComfyNode):
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
    def validate_inputs(cls, policy: str | None = None) -> bool | str:
        return acceptable(policy)

    @classmethod
    def fingerprint_inputs(cls, policy: str = "auto", **others) -> str:
        return picking.stamp(policy)

    @classmethod
    def execute(cls, model, budget: float, policy: str, evaluations: str = "", mechanism: str = "taylor",
                order: int = 1, cache_point: str = "auto", cache_device: str = "auto",
                trained: PolicyFile | None = None) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        try:
            file, missing = trained, ""
            if file is None:
                origin = sharing.stated_origin(queued.properties_of(cls.hidden.extra_pnginfo, node_id), policy)
                file, missing = picking.chosen(policy, model, mechanism, order, cache_point, origin)
            if file is not None:
                schedule = picking.budget_schedule(budget, picking.by_policy(file.policy))
            elif policy == "list":
                explicit(evaluations, 100_000)  # nonsense is refused before anything is loaded
                schedule = listed_schedule(evaluations)
            else:
                schedule = picking.budget_schedule(budget, picking.evenly)
            computed_for_budget(budget, 1)
            settings = caching.Settings(
                schedule=schedule, mechanism=mechanism, order=order, cache_point=cache_point,
                cache_device=cache_device, published=lambda report: show_report(node_id, report),
                remarks=picking.remarks(file, model, mechanism, order, missing))
        except ValueError as error:
            raise ValueError(f"ReCache Budget: {error}") from None
        show_text(node_id, "\n".join(filter(None, [_plan(budget, policy, file), missing])))
        return io.NodeOutput(caching.attach(model, settings))


def _plan(budget: float, policy: str, file: PolicyFile | None) -> str:
    """What the node says before a run."""
    if file is not None:
        return f"will compute at most {budget:.0%} of the evaluations, chosen by the policy '{file.about.name}'"
    if policy == "list":
        return "will compute the listed evaluations"
    return f"will compute at most {budget:.0%} of the evaluations, evenly spread"
