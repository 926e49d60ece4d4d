"""ReCache Frontier: the quality/time curve of an artist's own workflow, so that one look chooses the budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui

from ..caching import RunSettings, model_identity
from ..policies.budget import listed
from ..policies.policy_file import PolicyFile
from .inputs import PolicyNode, caching_inputs, hidden_input, policy_inputs
from .library.ranking import Target
from .library.resolve import PolicyChoice
from .pictures.frontier import frontier_picture
from .server import knees, prompt_info
from .server.page import show_preview, show_text
from .server.wording import error_text, language, reason_text, text
from .training import sampler_inputs
from .training.describe import describe_curve
from .training.preview import previews
from .training.quality_curve import Curve, Point, Runs, measured
from .training.sampler_inputs import Sampling


def _schema(node_id: str, name: str, sampled: Sampling) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=name,
        category="model/recache",
        description="Runs your own workflow at every budget that you list, and without a cache, and draws quality "
                    "against time with the knee marked: the budget where more time stops buying much quality. "
                    f"{sampled.connect}",
        search_aliases=["benchmark", "sweep", "quality", "speed", "pareto", "knee", "cache", "recache"],
        is_output_node=True,
        hidden=[io.Hidden.unique_id],
        inputs=[
            *sampled.inputs(),
            io.String.Input(
                "budgets", default="0.14, 0.18, 0.26, 0.4",
                tooltip="The budgets to try, as shares of the full compute. Each takes its share of the time of an "
                        "uncached run; four to six draw a good curve."),
            io.Int.Input(
                "samples", default=2, min=1, max=64,
                tooltip="Noises to try each budget on. Quality is their mean, time their median. One is quickest; more "
                        "hold better for other seeds."),
            io.Boolean.Input(
                "fewer_steps", default=True,
                tooltip="Also run your workflow without a cache and with fewer steps, as many as each budget computes: "
                        "what you would do without ReCache."),
            *policy_inputs(),
            *caching_inputs(),
            io.Vae.Input(
                "vae", optional=True,
                tooltip="To compare pictures (LPIPS, PSNR, SSIM) and show them. Without it, latents are compared."),
        ],
        outputs=[
            io.Image.Output(
                display_name="picture", tooltip="The curve, and what every budget gives and takes, with pictures."),
            io.Float.Output(
                display_name="budget",
                tooltip="The budget at the knee, for ReCache. The largest one listed if the curve has no knee."),
            io.String.Output(display_name="text", tooltip="The curve in words, a line for each budget."),
            io.String.Output(display_name="json", tooltip="The whole table, for other tools."),
        ],
    )


class _Frontier(PolicyNode):
    """Base of both nodes: the host stores a node's schema on its class, so neither can be the base of the other."""

    sampled: Sampling

    @classmethod
    def execute(cls, **given) -> io.NodeOutput:
        return _frontier(cls, **given)


class ReCacheFrontier(_Frontier):
    """The quality/time curve of a KSampler workflow."""

    sampled = sampler_inputs.KSAMPLER

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("ReCacheFrontier", "ReCache Frontier", cls.sampled)


class ReCacheFrontierCustom(_Frontier):
    """The quality/time curve of a SamplerCustomAdvanced workflow."""

    sampled = sampler_inputs.CUSTOM

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("ReCacheFrontierCustom", "ReCache Frontier (Custom Sampling)", cls.sampled)


def _frontier(cls, *, budgets: str, samples: int, fewer_steps: bool, policy: str, trained: PolicyFile | None = None,
              mechanism: str = "taylor", order: int = 1, cache_point: str = "auto", vae=None, **connected,
              ) -> io.NodeOutput:
    node_id = hidden_input(cls, "unique_id")
    workflow_id = prompt_info.workflow_id(hidden_input(cls, "extra_pnginfo"))
    tell = partial(show_text, workflow_id, node_id)
    try:
        shares = listed(budgets)
        flow = cls.sampled.workflow(**connected)
        layout = model_identity.layout(flow.model.model.diffusion_model)
        choice = PolicyChoice(policy, layout, Target(mechanism, order, cache_point, 1.0), trained=trained)
        choice.resolve(RunSettings())  # what is wrong with a file is said at once
        runs = Runs(flow, choice)
        bar = comfy.utils.ProgressBar(1000, node_id=node_id)
        flow.preview = previews(flow.model, partial(show_preview, workflow_id, node_id))
        curve = measured(flow, runs, shares, samples, fewer_steps, vae, _progress(bar, tell), language())
    except BaseException as error:
        cancelled = isinstance(error, comfy.model_management.InterruptProcessingException)
        tell(text("frontier.cancelled" if cancelled else "frontier.failed", language()))
        if isinstance(error, ValueError):
            raise ValueError(f"ReCache Frontier: {error_text(error)}") from None
        raise
    knees.remember(workflow_id, layout, curve.knee)
    said, picture = describe_curve(curve, language()), frontier_picture(curve)
    preview = ui.PreviewImage(picture, cls=cls).as_dict() | {"text": (said,), "recache_knee": (curve.knee,)}
    best = max(curve.cached) if curve.knee is None else curve.knee
    return io.NodeOutput(picture, best, said, json.dumps(table(curve)), ui=preview)


def _progress(bar: comfy.utils.ProgressBar, tell: Callable[[str], None]) -> Callable[[str, float], None]:
    """A callback that shows the progress on the node."""
    said = [""]

    def progress(doing: str, share: float) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(int(1000 * share))
        if doing != said[0]:
            said[0] = doing
            tell(doing)

    return progress


def table(curve: Curve) -> dict:
    """The curve as plain values, for JSON."""
    def row(point: Point) -> dict:
        return {"computed": point.computed, "seconds": point.seconds, "speedup": curve.speedup(point),
                **asdict(point.figures)}

    report = curve.report
    return {
        "evaluations": curve.evaluations, "measure": curve.metric.name, "knee": curve.knee,
        "mechanism": report.mechanism, "order": report.order, "cache_point": report.cache_point,
        "uncached": row(curve.uncached),
        "budgets": [
            {"budget": budget, **row(point), "fewer_steps": row(curve.fewer[budget]) if budget in curve.fewer else None}
            for budget, point in curve.cached.items()],
        "notes": [reason_text(note) for note in curve.notes]}
