"""What the artist drags in. Thin: a node builds arguments and calls the engine."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import folders, sharing, watching
from .budget import ReCacheBudget
from .compare import ReCacheCompare
from .frontier import ReCacheFrontier, ReCacheFrontierCustom
from .planning import route as planning
from .report import ReCacheReport
from .save_policy import ReCacheSavePolicy
from .train import ReCacheTrain, ReCacheTrainCustom, ReCacheTrainingPrompt

folders.register()
sharing.register()
watching.register()
planning.register()


class ReCacheExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            ReCacheBudget, ReCacheReport, ReCacheCompare, ReCacheFrontier, ReCacheFrontierCustom, ReCacheTrain,
            ReCacheTrainCustom, ReCacheTrainingPrompt, ReCacheSavePolicy]


async def comfy_entrypoint() -> ReCacheExtension:
    """Called by ComfyUI when it loads the pack."""
    return ReCacheExtension()
