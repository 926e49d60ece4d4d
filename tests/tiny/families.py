"""Tiny random-weight models of every family that the pack is tested on, by name.

They are the diffusion models on ComfyUI 0.30.0's list of supported models; `bench families` tries them all, the suite
those of IN_SUITE: one of every kind of latent, and of every way in which a network offers its blocks.
"""

from __future__ import annotations

from tests.tiny.family import Family
from tests.tiny.pictures import PICTURES
from tests.tiny.sound_and_shapes import SOUND_AND_SHAPES
from tests.tiny.unets import UNETS
from tests.tiny.videos import VIDEOS

FAMILIES: dict[str, Family] = {family.name: family for family in [*PICTURES, *VIDEOS, *SOUND_AND_SHAPES, *UNETS]}

IN_SUITE = (
    "flux", "flux_schnell", "flux2", "chroma", "wan21_t2v", "wan21_i2v", "wan21_vace", "wan22_14b", "wan22_5b",
    "hunyuan_video", "qwen_image", "z_image", "lumina2", "sd3", "ltxv", "sdxl", "sd15",
    "krea2", "minimax_h3", "ltxav", "stable_audio")

# Models on the host's list of which there is no tiny one, and why.
LEFT_OUT = {
    "HunyuanDiT 1.0": "the loader knows it by a width of 1,408 only; its network is HunyuanDiT's",
    "Wan 2.2 Animate with a face": "its encoder takes pictures of 512 x 512, which is minutes on a CPU; what it adds "
                                   "between the blocks leaves the output to be cached",
    "Z-Image in pixel space": "the loader knows it by a width of 3,840 only; its blocks are Z-Image's",
    "RT-DETR, SAM 3 and 3.1, Depth Anything 3": "they are no diffusion models, so nothing samples them",
}

__all__ = ["FAMILIES", "IN_SUITE", "LEFT_OUT", "Family"]
