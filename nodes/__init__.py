"""What the artist drags in. Thin: a node builds arguments and calls the engine."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .budget import ReCacheBudget
from .report import ReCacheReport


class ReCacheExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [ReCacheBudget, ReCacheReport]


async def comfy_entrypoint() -> ReCacheExtension:
    """Called by ComfyUI when it loads the pack."""
    return ReCacheExtension()
