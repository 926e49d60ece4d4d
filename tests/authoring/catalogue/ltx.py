"""LTX-2 and LTX-2.3, video with sound: a small clip that is cached, then 3 steps at twice its size that are not."""

from __future__ import annotations

from typing import Any

from tests.authoring.catalogue.parts import (
    about,
    budget,
    custom_sampler,
    guided,
    report,
    split_file,
    text,
    video,
)
from tests.authoring.catalogue.workflow import NEGATIVE, POSITIVE, File, Nodes, Workflow

_TEXT_ENCODER = split_file("gemma_3_12B_it_fp4_mixed.safetensors", "text_encoders", "Comfy-Org/ltx-2")
_TITLES = {
    "positive": POSITIVE, "negative": NEGATIVE, "length": "Length", "fps": "Frames per second",
    "vae sound": "Load LTXV Audio VAE", "large guider": "CFGGuider, large", "large sigmas": "ManualSigmas, large",
    "large sampler": "SamplerCustomAdvanced, large"}


def _nodes(checkpoint: str, lora: str, strength: float, upscaler: str, prompt: str, negative: str, *, fps: int,
           first: Nodes, sampler: str, sigmas: str, enlarged: tuple[str, int], output: int,
           tiles: dict[str, int]) -> dict[str, Any]:
    """The nodes of both passes.

    Args:
        strength: of the distilled LoRA.
        first: "scheduler", "budget" and "guider" of the first pass.
        sigmas: of the second pass.
        enlarged: the picture that is enlarged.
        output: of the second sampler, what is decoded.
        tiles: how the picture is decoded.
    """
    return {
        "checkpoint": ("CheckpointLoaderSimple", {"ckpt_name": checkpoint}),
        "clip": ("LTXAVTextEncoderLoader", {
            "text_encoder": _TEXT_ENCODER.name, "ckpt_name": checkpoint, "device": "default"}),
        "vae sound": ("LTXVAudioVAELoader", {"ckpt_name": checkpoint}),
        "lora": ("LoraLoaderModelOnly", {"model": ("checkpoint", 0), "lora_name": lora, "strength_model": strength}),
        "upscaler": ("LatentUpscaleModelLoader", {"model_name": upscaler}),
        "positive": text(prompt), "negative": text(negative),
        "fps": ("PrimitiveInt", {"value": fps}),
        # A decimal number and a whole one: in ComfyUI 0.27 the sound takes a whole one only.
        "rate": ("ComfyMathExpression", {"expression": "a", "values.a": ("fps", 0)}),
        "conditioning": ("LTXVConditioning", {
            "positive": ("positive", 0), "negative": ("negative", 0), "frame_rate": ("rate", 0)}),
        "length": ("PrimitiveInt", {"value": 121}),
        "picture": ("EmptyLTXVLatentVideo", {"width": 640, "height": 352, "length": ("length", 0), "batch_size": 1}),
        "sound": ("LTXVEmptyLatentAudio", {
            "audio_vae": ("vae sound", 0), "frames_number": ("length", 0), "frame_rate": ("rate", 1), "batch_size": 1}),
        "latent": ("LTXVConcatAVLatent", {"video_latent": ("picture", 0), "audio_latent": ("sound", 0)}),
        **first,
        "solver": ("KSamplerSelect", {"sampler_name": sampler}),
        "noise": ("RandomNoise", {"noise_seed": 0}),
        "sampler": custom_sampler("solver"),
        "report": report("sampler"),
        "separate": ("LTXVSeparateAVLatent", {"av_latent": ("report", 0)}),
        "crop": ("LTXVCropGuides", {
            "positive": ("conditioning", 0), "negative": ("conditioning", 1), "latent": ("separate", 0)}),
        "large picture": ("LTXVLatentUpsampler", {
            "samples": enlarged, "upscale_model": ("upscaler", 0), "vae": ("checkpoint", 2)}),
        "large latent": ("LTXVConcatAVLatent", {
            "video_latent": ("large picture", 0), "audio_latent": ("separate", 1)}),
        "large sigmas": ("ManualSigmas", {"sigmas": sigmas}),
        "large guider": ("CFGGuider", {
            "model": ("lora", 0), "positive": ("crop", 0), "negative": ("crop", 1), "cfg": 1.0}),
        "large sampler": ("SamplerCustomAdvanced", {
            "noise": ("noise", 0), "guider": ("large guider", 0), "sampler": ("solver", 0),
            "sigmas": ("large sigmas", 0), "latent_image": ("large latent", 0)}),
        "large separate": ("LTXVSeparateAVLatent", {"av_latent": ("large sampler", output)}),
        "decode": ("VAEDecodeTiled", {"samples": ("large separate", 0), "vae": ("checkpoint", 2), **tiles}),
        "decode sound": ("LTXVAudioVAEDecode", {"samples": ("large separate", 1), "audio_vae": ("vae sound", 0)}),
        "video": ("CreateVideo", {"images": ("decode", 0), "audio": ("decode sound", 0), "fps": ("rate", 0)}),
        "save": video(24.0)["save"],
    }


def _guider(cfg: float) -> tuple[str, dict]:
    return "CFGGuider", {
        "model": ("budget", 0), "positive": ("conditioning", 0), "negative": ("conditioning", 1), "cfg": cfg}


_GROUPS = (
    ("Models", ("models", "checkpoint", "clip", "vae sound", "lora", "upscaler")),
    ("Prompt and size", ("positive", "negative", "fps", "length", "noise", "solver")),
    ("Picture and sound", ("rate", "conditioning", "picture", "sound")),
    ("ReCache", ("latent", "scheduler", "budget", "guider", "note")),
    ("The clip", ("sampler", "report", "separate")),
    ("Twice as large", ("crop", "large picture", "large latent", "large sigmas", "large guider")),
    ("Sampled again", ("large sampler", "large separate", "decode sound")), ("Video", ("decode", "video", "save")))


def _files(*files: File) -> tuple[File, ...]:
    checkpoint, *others = files
    return (checkpoint, _TEXT_ENCODER, *others)


_PICTURE_AND_SOUND = "Picture and sound are one latent: both are forecast under the one budget."
_LARGE = ("The first pass makes the clip at width and height. The second enlarges it to twice that in 3 steps and is "
          "left whole, so the whole run gains less.")

ltx2 = Workflow(
    name="LTX-2 text to video",
    template="video_ltx2_t2v",
    nodes=_nodes(
        "ltx-2-19b-dev-fp8.safetensors", "ltx-2-19b-distilled-lora-384.safetensors", 1.0,
        "ltx-2-spatial-upscaler-x2-1.0.safetensors",
        "A street violinist plays under a bridge at night, her breath is seen in the cold, a tram passes behind her. "
        "Sound: a slow waltz on one violin, an echo, the rumble of the tram.",
        "blurry, out of focus, still image, watermark, titles, subtitles",
        fps=24, sampler="euler_ancestral", sigmas="0.909375, 0.725, 0.421875, 0.0", enlarged=("crop", 2),
        output=1,
        tiles={"tile_size": 512, "overlap": 64, "temporal_size": 4096, "temporal_overlap": 8},
        first={
            "scheduler": ("LTXVScheduler", {
                "latent": ("latent", 0), "steps": 20, "max_shift": 2.05, "base_shift": 0.95, "stretch": True,
                "terminal": 0.1}),
            "budget": budget(("checkpoint", 0), 0.6), "guider": _guider(4.0)}),
    groups=_GROUPS,
    files=_files(
        split_file("ltx-2-19b-dev-fp8.safetensors", "checkpoints", "Lightricks/LTX-2", ""),
        split_file("ltx-2-19b-distilled-lora-384.safetensors", "loras", "Lightricks/LTX-2", ""),
        split_file("ltx-2-spatial-upscaler-x2-1.0.safetensors", "latent_upscale_models", "Lightricks/LTX-2", "")),
    note=about(0.6, 20, "here that is the guider of the first sampler, and LoRAs go before ReCache",
               _PICTURE_AND_SOUND, _LARGE,
               guided(4)),
    line="budget 0.6 on the first pass, second whole", evaluations=20, budget=0.6, titles=_TITLES,
    inside=("large guider",),
    subgraph=True,
)

ltx23 = Workflow(
    name="LTX-2.3 text to video",
    template="video_ltx2_3_t2v",
    nodes=_nodes(
        "ltx-2.3-22b-dev-fp8.safetensors",
        "ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors", 0.5,
        "ltx-2.3-spatial-upscaler-x2-1.1.safetensors",
        "A blacksmith lifts a glowing blade from the forge and strikes it on the anvil, sparks fly towards the camera. "
        "Sound: the hiss of the bellows, three ringing blows, a dog barks outside.",
        "cartoon, video game, childish, ugly",
        fps=25, sampler="euler", sigmas="0.85, 0.7250, 0.4219, 0.0", enlarged=("separate", 0), output=0,
        tiles={"tile_size": 768, "overlap": 64, "temporal_size": 4096, "temporal_overlap": 4},
        first={
            "scheduler": ("ManualSigmas", {
                "sigmas": "1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0"}),
            "budget": budget(("lora", 0), 0.75), "guider": _guider(1.0)}),
    groups=_GROUPS,
    files=_files(
        split_file("ltx-2.3-22b-dev-fp8.safetensors", "checkpoints", "Lightricks/LTX-2.3-fp8", ""),
        split_file("ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors", "loras",
                   "Comfy-Org/ltx-2.3"),
        split_file("ltx-2.3-spatial-upscaler-x2-1.1.safetensors", "latent_upscale_models", "Lightricks/LTX-2.3",
                       "")),
    note=about(0.75, 8, "here that is the guider of the first sampler, after the distilled LoRA",
               _PICTURE_AND_SOUND, _LARGE,
               "With the distilled LoRA the clip takes 8 steps. With so few, a step or two can be saved before it "
               "becomes another one: the bar on the node says how close it will come."),
    line="budget 0.75 on the first pass, second whole", evaluations=8, budget=0.75, titles=_TITLES, inside=("lora",),
    subgraph=True,
)
