"""ReCache Report: what a run under ReCache did, as text, picture and JSON."""

from __future__ import annotations

import json

from comfy_api.latest import io, ui

from .. import caching
from ..caching import host_check
from .pictures.schedule import schedule_picture
from .server.wording import language, reason_text, report_text


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
            inputs=[
                io.Latent.Input("samples", tooltip="The latent from the sampler; it is passed through unchanged."),
                io.Model.Input("model", tooltip="The model that came out of ReCache."),
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
        obstacle = host_check.obstacle()
        if obstacle is not None:
            text = reason_text(obstacle, language())
            return io.NodeOutput(samples, text, schedule_picture(None, language()), "null", ui={"text": (text,)})
        if settings is None:
            raise ValueError("ReCache Report: this model has no ReCache on it; connect the model that comes out of the "
                             "ReCache node.")
        report, spoken = caching.report_of(settings.identity, samples["samples"]), language()
        text, picture = report_text(report, spoken), schedule_picture(report, spoken)
        shown = ui.PreviewImage(picture, cls=cls).as_dict() | {"text": (text,)}
        known = None if report is None else report.as_dict()
        return io.NodeOutput(samples, text, picture, json.dumps(known), ui=shown)
