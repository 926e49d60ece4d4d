"""The nodes. What the demo models understand is documented in tests/trained/README.md."""

from __future__ import annotations

import comfy.latent_formats
from comfy_api.latest import ComfyExtension, io

from . import text as words


class TextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheTestTextEncode",
            display_name="Test Text Encode",
            category="ReCache/test",
            inputs=[
                io.String.Input("text", multiline=True, default="a dog on a blue background"),
                io.Combo.Input("model", options=list(words.DIMENSIONS), default="flux"),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, text: str, model: str) -> io.NodeOutput:
        tokens, pooled = words.encode(text, *words.DIMENSIONS[model])
        extras = {"pooled_output": pooled[None]} if len(pooled) else {}
        return io.NodeOutput([[tokens[None], extras]])


class FramesToBatch(io.ComfyNode):
    """The demo models share one image autoencoder, so a clip is decoded as a batch of pictures, frame after frame.

    The host keeps a Wan latent in the scale of Wan's own autoencoder, and the image autoencoder expects FLUX's.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheTestFramesToBatch",
            display_name="Test Video Frames to Batch",
            category="ReCache/test",
            inputs=[io.Latent.Input("samples")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: dict) -> io.NodeOutput:
        latent = comfy.latent_formats.Wan21().process_in(samples["samples"])
        frames = latent.transpose(1, 2).flatten(0, 1)
        return io.NodeOutput({"samples": comfy.latent_formats.Flux().process_out(frames)})


class TestNodes(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TextEncode, FramesToBatch]
