"""What the artist drags in. Thin: a node builds arguments and calls the engine."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .budget import ReCacheBudget, ReCacheBudgetTwoModels
from .compare import ReCacheCompare
from .frontier import ReCacheFrontier, ReCacheFrontierCustom
from .library import embed, folders
from .report import ReCacheReport
from .save_policy import ReCacheSavePolicy
from .server import routes, training_state
from .train import ReCacheTrain, ReCacheTrainCustom, ReCacheTrainingPrompt

folders.register()
embed.register()
training_state.register()
routes.register()


class ReCacheExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            ReCacheBudget, ReCacheBudgetTwoModels, ReCacheReport, ReCacheCompare, ReCacheFrontier,
            ReCacheFrontierCustom, ReCacheTrain, ReCacheTrainCustom, ReCacheTrainingPrompt, ReCacheSavePolicy]


async def comfy_entrypoint() -> ReCacheExtension:
    """Called by ComfyUI when it loads the pack."""
    return ReCacheExtension()
