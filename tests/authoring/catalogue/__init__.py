"""What the shipped workflows are: nodes, settings, model files, notes and how they are grouped.

Nodes and settings are those of ComfyUI's own template of each model (`Workflow.template`), with ReCache put in; prompts
are ours. A template's switch for a few-step LoRA is left out.
"""

from tests.authoring.catalogue import choosing, editing, flux, ltx, pictures, scail, videos, wan
from tests.authoring.catalogue.workflow import HUB, Workflow

WORKFLOWS: tuple[Workflow, ...] = (
    flux.flux_text_to_image, flux.flux_image_to_image, flux.flux_kontext, flux.flux2, wan.wan_text_to_video,
    wan.wan_image_to_video, wan.wan22, videos.hunyuan, pictures.qwen, pictures.z_image, pictures.krea2,
    flux.flux2_klein, videos.minimax_h3, ltx.ltx2, ltx.ltx23, editing.qwen, pictures.anima, editing.bernini,
    scail.scail2, pictures.sdxl, choosing.train_flux, choosing.train_wan, choosing.compare, choosing.frontier)
__all__ = ["HUB", "WORKFLOWS", "Workflow"]
