"""ReCache Report: what a run under ReCache did, as text, picture and JSON."""

from __future__ import annotations

import json

from comfy_api.latest import io, ui

from .. import caching
from .pictures.schedule import schedule_picture
from .server.page import show_text
from .wording import reason_text, remarks, summary


def describe(report: caching.Report) -> str:
    """The report as lines for an artist."""
    lines = [summary(report)]
    if report.cache_point != "none":
        order = "" if report.order is None else f", order {report.order}"
        lines.append(f"{report.mechanism}{order}, cached at {report.cache_point}: "
                     f"{reason_text(report.cache_point_reason)}")
    if report.seconds_computed is not None and report.seconds_cached is not None:
        lines.append(f"{report.seconds_computed:.3g} s a computed evaluation, {report.seconds_cached:.3g} s a cached "
                     f"one; {report.seconds_saved:.1f} s saved, "
                     f"{report.peak_cache_bytes / 2**20:.1f} MB of cache at most")
    lines += [f"evaluation {index} was computed though it was to be cached: {reason_text(reason)}"
              for index, reason in report.unplanned]
    return "\n".join(lines + remarks(report))


class ReCacheReport(io.ComfyNode):
    """Passes a sampled latent through and tells how it was made."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheReport",
            display_name="ReCache Report",
            category="model/recache",
            description="Shows what ReCache did in a sampling run: which evaluations were computed, how much faster "
                        "it was, what was not as planned and why. Connect the sampled latent and ReCache's model.",
            search_aliases=["cache report", "speed", "timing", "time saved", "skipped steps", "recache"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Latent.Input("samples", tooltip="The latent from the sampler; it is passed through unchanged."),
                io.Model.Input("model", tooltip="The model that came out of ReCache Budget."),
            ],
            outputs=[
                io.Latent.Output(display_name="samples", tooltip="The same latent, for VAE Decode."),
                io.String.Output(display_name="text", tooltip="The report in words."),
                io.Image.Output(
                    display_name="schedule", tooltip="One cell for each evaluation, coloured where it was computed."),
                io.String.Output(display_name="json", tooltip="The report for programs, every figure in it."),
            ],
        )

    @classmethod
    def execute(cls, samples, model) -> io.NodeOutput:
        settings = caching.config_of(model)
        if settings is None:
            raise ValueError("ReCache Report: this model has no ReCache on it; connect the model that comes out of "
                             "ReCache Budget.")
        report = caching.report_of(settings.identity, samples["samples"])
        if report is None:
            raise ValueError("ReCache Report: no run of this model is known; connect the latent of the sampler that "
                             "uses ReCache Budget's model, and queue again.")
        text, picture = describe(report), schedule_picture(report)
        show_text(cls.hidden.unique_id, text)
        shown = ui.PreviewImage(picture, cls=cls).as_dict() | {"text": (text,)}
        return io.NodeOutput(samples, text, picture, json.dumps(report.as_dict()), ui=shown)
