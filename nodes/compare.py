"""ReCache Compare: how far cached pictures are from the uncached ones, in figures and to look at."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.model_management
import torch
from comfy_api.latest import io, ui

from ..policies.metrics.metric import MIN_SIDE, Figures, Metric, figures, mean, perceptual
from .pictures.comparison import compare_picture, heat_map
from .server.wording import figures_text, language, reason_text, text
from .training.objective import metric_notes


class ReCacheCompare(io.ComfyNode):
    """Compares two batches of pictures, or two clips, pair by pair."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheCompare",
            display_name="ReCache Compare",
            category="model/recache",
            description="Shows what caching changed: uncached and cached pictures side by side, a heat map of where "
                        "they differ, and LPIPS, PSNR and SSIM. Make both with the same seed and settings, once with "
                        "ReCache and once without.",
            search_aliases=["compare", "difference", "heat map", "lpips", "psnr", "ssim", "quality", "recache"],
            is_output_node=True,
            inputs=[
                io.Image.Input("uncached", tooltip="Pictures, or the frames of a video, made without ReCache."),
                io.Image.Input("cached", tooltip="The same ones made with ReCache: as many, of the same size."),
                io.Int.Input(
                    "rows", default=4, min=1, max=16,
                    tooltip="How many pairs the picture shows at most. Of more, it shows the first, the last and some "
                            "evenly spread between; 3 shows the first, middle and last frame of a clip. The figures "
                            "are always of all."),
                io.Float.Input(
                    "heat_scale", default=0.2, min=0.01, max=1.0, step=0.01,
                    tooltip="The difference that the heat map shows brightest, as a share of black to white. Lower it "
                            "to see smaller differences; keep it to compare two runs."),
            ],
            outputs=[
                io.Image.Output(display_name="picture", tooltip="Uncached, cached and heat map with figures."),
                io.Image.Output(display_name="heat_map", tooltip="The heat map of every pair, in the pictures' size."),
                io.String.Output(display_name="text", tooltip="The figures in words: the mean, and each pair shown."),
                io.Float.Output(
                    display_name="difference",
                    tooltip="Mean LPIPS, or 1 - SSIM where LPIPS can't be had (the text says which). 0: equal."),
                io.Float.Output(display_name="psnr", tooltip="Mean PSNR in dB; higher is closer, 100: equal."),
                io.Float.Output(display_name="ssim", tooltip="Mean SSIM; higher is closer, 1: equal."),
            ],
        )

    @classmethod
    def execute(cls, uncached: torch.Tensor, cached: torch.Tensor, rows: int, heat_scale: float) -> io.NodeOutput:
        try:
            uncached, cached = _comparable(uncached, cached)
        except ValueError as error:
            raise ValueError(f"ReCache Compare: {error}") from None
        metric = perceptual()
        each = figures(metric, cached, uncached, comfy.model_management.get_torch_device())
        heat, total = heat_map(uncached, cached, heat_scale), mean(each)
        count = len(each)
        shown = [round(i * (count - 1) / max(1, rows - 1)) for i in range(rows)] if count > rows else range(count)
        said = _describe(metric, each, shown, language())
        picture = compare_picture(uncached, cached, heat, shown, [figures_text(row, metric.name) for row in each],
                                  heat_scale, _gist(metric, each, "en"))
        preview = ui.PreviewImage(picture, cls=cls).as_dict() | {"text": (said,)}
        for side, pictures in (("a_images", uncached), ("b_images", cached)):  # as the host's own Compare Images
            preview[side] = ui.PreviewImage(pictures[list(shown)], cls=cls).as_dict()["images"]
        return io.NodeOutput(picture, heat, said, total.difference, total.psnr, total.ssim, ui=preview)


def _gist(metric: Metric, each: Sequence[Figures], language: str) -> str:
    """The figures of the only pair, or the mean."""
    line = figures_text(mean(each), metric.name, language)
    return line if len(each) == 1 else text("compare.mean", language, figures=line, count=len(each))


def _describe(metric: Metric, each: Sequence[Figures], shown: Sequence[int], language: str) -> str:
    """The figures as lines: of all pairs, of those that the picture shows, and of the worst."""
    def pair(key: str, i: int) -> str:
        return text(f"compare.{key}", language, i=i + 1, count=len(each),
                    figures=figures_text(each[i], metric.name, language))

    lines = [_gist(metric, each, language)]
    if len(each) > 1:
        worst = max(range(len(each)), key=lambda i: each[i].difference)
        lines += [*(pair("pair", i) for i in shown), pair("worst", worst)]
    lines.append(text("compare.legend", language, metric=metric.name))
    return "\n".join([*lines, *(reason_text(note, language) for note in metric_notes(metric))])


def _comparable(uncached: torch.Tensor, cached: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as RGB in 0..1.

    Raises:
        ValueError: they can't be compared.
    """
    (count, height, width), (others, *size) = uncached.shape[:3], cached.shape[:3]
    if size != [height, width]:
        raise ValueError(f"the uncached pictures are {width} x {height} and the cached ones {size[1]} x {size[0]}; "
                         "make both with the same size.")
    if count != others:
        raise ValueError(f"there are {count} uncached pictures and {others} cached ones; make both with the same batch "
                         "size or length.")
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"pictures of {width} x {height} are too small to compare; {MIN_SIDE} x {MIN_SIDE} is the "
                         "least.")
    for name, pictures in (("uncached", uncached), ("cached", cached)):
        if not torch.isfinite(pictures).all():
            raise ValueError(f"the {name} pictures hold NaN or infinity instead of colours; look at the model, the VAE "
                             "and their precision.")
    return tuple(pictures[..., :3].expand(-1, -1, -1, 3).clamp(0.0, 1.0) for pictures in (uncached, cached))
