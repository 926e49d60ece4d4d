"""Other models that make video, some of them with sound."""

from __future__ import annotations

from tests.authoring.catalogue.flux import CLIP_L
from tests.authoring.catalogue.parts import (
    LOADERS,
    about,
    budget,
    clip,
    custom_sampler,
    decode,
    file_in_folder,
    report,
    split_file,
    text,
    two_clips,
    unet,
    vae,
    video,
)
from tests.authoring.catalogue.workflow import POSITIVE, Workflow

hunyuan = Workflow(
    name="HunyuanVideo text to video",
    template="hunyuan_video_text_to_video",
    nodes={
        "unet": unet("hunyuan_video_t2v_720p_bf16.safetensors"),
        "clip": two_clips("clip_l.safetensors", "llava_llama3_fp8_scaled.safetensors", "hunyuan_video"),
        "vae": vae("hunyuan_video_vae_bf16.safetensors"),
        "shift": ("ModelSamplingSD3", {"model": ("unet", 0), "shift": 7.0}),
        "positive": text("a heron lifts off from a misty lake at sunrise, ripples spread, slow motion"),
        "guidance": ("FluxGuidance", {"conditioning": ("positive", 0), "guidance": 6.0}),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 848, "height": 480, "length": 73, "batch_size": 1}),
        "scheduler": ("BasicScheduler", {"model": ("unet", 0), "scheduler": "simple", "steps": 20, "denoise": 1.0}),
        "euler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "noise": ("RandomNoise", {"noise_seed": 0}),
        "budget": budget(("shift", 0), 0.5),
        "guider": ("BasicGuider", {"model": ("budget", 0), "conditioning": ("guidance", 0)}),
        "sampler": custom_sampler(),
        "report": report("sampler"),
        "decode": ("VAEDecodeTiled", {
            "samples": ("report", 0), "vae": ("vae", 0), "tile_size": 256, "overlap": 64, "temporal_size": 64,
            "temporal_overlap": 8}),
        **video(24.0),
    },
    groups=(
        ("Models", (*LOADERS, "shift")), ("Prompt and size", ("positive", "guidance", "latent")),
        ("Steps", ("scheduler", "euler", "noise")), ("ReCache", ("budget", "guider", "note")),
        ("Sampling", ("sampler", "report")), ("Video", ("decode", "video", "save"))),
    files=(split_file("hunyuan_video_t2v_720p_bf16.safetensors", "diffusion_models",
                      "Comfy-Org/HunyuanVideo_repackaged"),
           CLIP_L,
           split_file("llava_llama3_fp8_scaled.safetensors", "text_encoders", "Comfy-Org/HunyuanVideo_repackaged"),
           split_file("hunyuan_video_vae_bf16.safetensors", "vae", "Comfy-Org/HunyuanVideo_repackaged")),
    note=about(0.5, 20, "after ModelSamplingSD3 and LoRAs; here that is the guider, which hands the model to the "
                        "sampler"),
    line="budget 0.5", evaluations=20, budget=0.5, titles={"positive": POSITIVE},
    subgraph=True,
)
_H3 = "Comfy-Org/MiniMax-H3"
minimax_h3 = Workflow(
    name="MiniMax H3 text to video",
    template="video_minimax_h3_t2v",
    nodes={
        "unet": unet("minimax_h3_fl2va_pruned_int8_convrot.safetensors"),
        "clip": clip("qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "minimax"),
        "vae": vae("minimax_h3_video_vae_fp16.safetensors"),
        "vae audio": vae("minimax_h3_audio_vae_fp32.safetensors"),
        "positive": ("MiniMaxH3ImageToVideo", {
            "clip": ("clip", 0), "vae": ("vae", 0), "width": 832, "height": 480, "length": 56,
            "prompt": "A kettle begins to whistle on a gas stove, steam clouds the kitchen window, a cat jumps from "
                      "the table. Sound: the rising whistle, rain outside."}),
        "scheduler": ("BasicScheduler", {"model": ("unet", 0), "scheduler": "simple", "steps": 20, "denoise": 1.0}),
        "multistep": ("KSamplerSelect", {"sampler_name": "res_multistep"}),
        "noise": ("RandomNoise", {"noise_seed": 0}),
        "budget": budget(("unet", 0), 0.5),
        "guider": ("BasicGuider", {"model": ("budget", 0), "conditioning": ("positive", 0)}),
        "sampler": custom_sampler("multistep", ("positive", 1)),
        "report": report("sampler"), "decode": decode(("report", 0)),
        "decode audio": ("VAEDecodeAudio", {"samples": ("report", 0), "vae": ("vae audio", 0)}),
        "video": ("CreateVideo", {"images": ("decode", 0), "audio": ("decode audio", 0), "fps": 24.0}),
        "save": video(24.0)["save"],
    },
    groups=(
        ("Models", ("models", "unet", "clip", "vae", "vae audio")), ("Prompt and size", ("positive",)),
        ("Steps", ("scheduler", "multistep", "noise")), ("ReCache", ("budget", "guider", "note")),
        ("Sampling", ("sampler", "report")), ("Video", ("decode", "decode audio", "video", "save"))),
    files=(file_in_folder("minimax_h3_fl2va_pruned_int8_convrot.safetensors", "diffusion_models", _H3),
           file_in_folder("qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "text_encoders", _H3),
           file_in_folder("minimax_h3_video_vae_fp16.safetensors", "vae", _H3),
           file_in_folder("minimax_h3_audio_vae_fp32.safetensors", "vae", _H3)),
    note=about(0.5, 20, "here that is the guider, which hands the model to the sampler",
               "Picture and sound are one latent: both are forecast under the one budget.",
               "A length of 56 frames is a little over two seconds; it goes up in steps of 17."),
    line="picture and sound, budget 0.5", evaluations=20, budget=0.5, titles={"vae audio": "Load VAE (sound)"},
    subgraph=True,
)
