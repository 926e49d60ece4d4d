"""ReCache Budget: how much of a sampling run is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comfy_api.latest import io

from .. import caching
from ..policies.budget import computed_for_budget
from ..policies.schedule import ScheduleError, explicit
from ..policies.uniform import uniform
from .display import show_report, show_text

POLICIES = ("uniform", "list")


def uniform_schedule(budget: float) -> Callable[[Sequence[float], float], tuple[bool, ...]]:
    """The schedule of a budget under the uniform policy, for the engine."""
    def schedule(times: Sequence[float], cached_cost: float) -> tuple[bool, ...]:
        n = len(times)
        if cached_cost and 1.0 + (n - 1) * cached_cost > budget * n >= 1.0:
            raise ScheduleError(f"cached evaluations that cost {cached_cost:.0%} of a computed one exceed the budget")
        return uniform(n, computed_for_budget(budget, n, cached_cost)).computed
    return schedule


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
            search_aliases=["cache", "speed up", "faster", "teacache", "easycache", "taylorseer", "recache"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion model: FLUX, Wan, HunyuanVideo, Qwen-Image, SDXL, ..."),
                io.Float.Input(
                    "budget", default=0.3, min=0.05, max=1.0, step=0.01, display_mode=io.NumberDisplay.slider,
                    tooltip="Share of the full compute that a run may spend. 0.3 of 50 steps computes 15 and is about "
                            "3.3x faster; 1.0 changes nothing, to the bit. Lower is faster and less like the original."),
                io.Combo.Input(
                    "policy", options=list(POLICIES), default="uniform",
                    tooltip="Which evaluations are computed. uniform: evenly spread. list: the ones written under "
                            "evaluations; the budget is not used then."),
                io.String.Input(
                    "evaluations", default="", optional=True, advanced=True,
                    tooltip="With policy 'list': the evaluations to compute, counted from 0, such as 0-3, 6, 10, 15. "
                            "Evaluation 0 is always needed."),
                io.Combo.Input(
                    "mechanism", options=list(caching.MECHANISMS), default="taylor", optional=True, advanced=True,
                    tooltip="How a skipped evaluation is reconstructed. taylor and hermite continue the trend of the "
                            "last computed ones, reuse repeats the last, residual repeats its change, dicache lets "
                            "the first block tell how far things have moved (it costs one block each time)."),
                io.Int.Input(
                    "order", default=1, min=1, max=3, optional=True, advanced=True,
                    tooltip="Of taylor and hermite: 1 continues a line, 2 a parabola, 3 a cubic. Higher needs more "
                            "memory and closer computed evaluations."),
                io.Combo.Input(
                    "cache_point", options=list(caching.CACHE_POINTS), default="auto", optional=True, advanced=True,
                    tooltip="Where features are taken. blocks: after the last transformer block. output: the model's "
                            "prediction; works with every model and needs least memory. auto decides, and ReCache "
                            "Report says why."),
                io.Combo.Input(
                    "cache_device", options=["auto", "cpu"], default="auto", optional=True, advanced=True,
                    tooltip="auto keeps features on the GPU. cpu keeps them in main memory: slower, for when the GPU "
                            "is full."),
            ],
            outputs=[io.Model.Output(tooltip="The model with ReCache, for the sampler (and ReCache Report).")],
        )

    @classmethod
    def execute(cls, model, budget: float, policy: str, evaluations: str = "", mechanism: str = "taylor",
                order: int = 1, cache_point: str = "auto", cache_device: str = "auto") -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        try:
            if policy == "list":
                explicit(evaluations, 100_000)  # nonsense is refused before anything is loaded
                schedule = listed_schedule(evaluations)
            else:
                computed_for_budget(budget, 1)
                schedule = uniform_schedule(budget)
            settings = caching.Settings(
                schedule=schedule, mechanism=mechanism, order=order, cache_point=cache_point,
                cache_device=cache_device, published=lambda report: show_report(node_id, report))
        except ValueError as error:
            raise ValueError(f"ReCache Budget: {error}") from None
        show_text(node_id, "will compute the listed evaluations" if policy == "list" else
                  f"will compute at most {budget:.0%} of the evaluations")
        return io.NodeOutput(caching.attach(model, settings))
