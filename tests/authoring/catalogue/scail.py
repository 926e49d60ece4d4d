"""SCAIL-2, which puts the person of a picture into a video."""

from __future__ import annotations

from tests.authoring.catalogue.parts import (
    LOAD,
    about,
    budget,
    decode,
    file_in_folder,
    guided,
    split_file,
    text,
    unet,
    vae,
    video,
)
from tests.authoring.catalogue.wan import VISION, WAN_TEXT, wan_loaders
from tests.authoring.catalogue.workflow import NEGATIVE, POSITIVE, Workflow


def _tracked(images: tuple[str, int]) -> tuple[str, dict]:
    return "SAM3_VideoTrack", {
        "images": images, "model": ("finder", 0), "conditioning": ("who", 0), "detection_threshold": 0.5,
        "max_objects": 4, "detect_interval": 1}


scail2 = Workflow(
    name="SCAIL-2 character replacement",
    template="video_wan21_scail2_character_replacement",
    nodes={
        "unet": unet("wan2.1_14B_SCAIL_2_fp16.safetensors"),
        "clip": wan_loaders["clip"], "vae": vae("Wan2_1_VAE_bf16.safetensors"),
        "vision": ("CLIPVisionLoader", {"clip_name": VISION.name}),
        "finder": ("CheckpointLoaderSimple", {"ckpt_name": "sam3.1_multiplex_fp16.safetensors"}),
        "lora": ("LoraLoaderModelOnly", {
            "model": ("unet", 0), "lora_name": "wan2.1_SCAIL_2_DPO_lora_bf16.safetensors", "strength_model": 1.0}),
        "shift": ("ModelSamplingSD3", {"model": ("lora", 0), "shift": 5.0}),
        "acted": ("LoadVideo", {"file": "video.mp4"}), "image": LOAD,
        "parts": ("GetVideoComponents", {"video": ("acted", 0)}),
        "frames": ("ImageFromBatch", {"image": ("parts", 0), "batch_index": 0, "length": 81}),
        "width": ("PrimitiveInt", {"value": 896}), "height": ("PrimitiveInt", {"value": 512}),
        "scale": ("ResizeImageMaskNode", {
            "input": ("frames", 0), "resize_type": "scale dimensions", "resize_type.width": ("width", 0),
            "resize_type.height": ("height", 0), "resize_type.crop": "center", "scale_method": "area"}),
        "size": ("GetImageSize", {"image": ("scale", 0)}),
        "seen": ("CLIPVisionEncode", {"clip_vision": ("vision", 0), "image": ("image", 0), "crop": "none"}),
        "positive": text("a woman in a yellow raincoat dances on a pier in the rain"), "negative": text(""),
        "who": text("human", ("finder", 1)),
        "track": _tracked(("scale", 0)), "track picture": _tracked(("image", 0)),
        "masks": ("SCAIL2ColoredMask", {
            "driving_track_data": ("track", 0), "ref_track_data": ("track picture", 0), "object_indices": "",
            "sort_by": "left_to_right", "replacement_mode": True}),
        "source": ("WanSCAILToVideo", {
            "positive": ("positive", 0), "negative": ("negative", 0), "vae": ("vae", 0), "width": ("size", 0),
            "height": ("size", 1), "length": ("size", 2), "batch_size": 1, "pose_video": ("scale", 0),
            "pose_video_mask": ("masks", 0), "replacement_mode": True, "pose_strength": 1.0, "pose_start": 0.0,
            "pose_end": 1.0, "reference_image": ("image", 0), "reference_image_mask": ("masks", 1),
            "clip_vision_output": ("seen", 0), "video_frame_offset": 0, "previous_frame_count": 5}),
        "scheduler": ("BasicScheduler", {"model": ("lora", 0), "scheduler": "simple", "steps": 40, "denoise": 1.0}),
        "euler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "budget": budget(("shift", 0), 0.38),
        "sampler": ("SamplerCustom", {
            "model": ("budget", 0), "add_noise": True, "noise_seed": 0, "cfg": 5.0, "positive": ("source", 0),
            "negative": ("source", 1), "sampler": ("euler", 0), "sigmas": ("scheduler", 0),
            "latent_image": ("source", 2)}),
        "report": ("ReCacheReport", {"samples": ("sampler", 1), "model": ("budget", 0)}),
        "decode": decode(("report", 0)),
        "video": ("CreateVideo", {"images": ("decode", 0), "audio": ("parts", 1), "fps": ("parts", 2)}),
        "save": video(30.0)["save"],
    },
    groups=(
        ("Models", ("models", "unet", "clip", "vae", "vision", "finder", "lora", "shift")),
        ("Video and picture", ("acted", "image", "parts", "frames", "width", "height")),
        ("Size and prompt", ("scale", "positive", "negative", "who", "seen")),
        ("Who is replaced", ("size", "track", "track picture", "masks")),
        ("Steps", ("source", "scheduler", "euler")), ("ReCache", ("budget", "note")),
        ("Sampling", ("sampler", "report")), ("Video", ("decode", "video", "save"))),
    files=(file_in_folder("wan2.1_14B_SCAIL_2_fp16.safetensors", "diffusion_models", "Comfy-Org/SCAIL-2"),
           WAN_TEXT, split_file("Wan2_1_VAE_bf16.safetensors", "vae", "Kijai/WanVideo_comfy", ""), VISION,
           file_in_folder("sam3.1_multiplex_fp16.safetensors", "checkpoints", "Comfy-Org/sam3.1"),
           file_in_folder("wan2.1_SCAIL_2_DPO_lora_bf16.safetensors", "loras", "Comfy-Org/SCAIL-2")),
    note=about(
        0.38, 40, "after ModelSamplingSD3 and LoRAs",
        "Choose a video, and a picture of who takes the place of the person in it.",
        guided(5),
        "ComfyUI's template begins with a LoRA for 6 steps, where there is little left to skip; these are the 40 steps "
        "that it takes without. It also goes on after 81 frames: put ReCache last before that sampler, too."),
    line="budget 0.38", evaluations=40, budget=0.38,
    titles={"positive": POSITIVE, "negative": NEGATIVE, "width": "Width", "height": "Height",
            "who": "Who is replaced", "finder": "Load Checkpoint (finds people)"},
    inside=("who",),
    subgraph=True,
)
