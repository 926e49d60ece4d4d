"""What the artist drags in. Thin: a node builds arguments and calls the engine."""

from __future__ import annotations

import logging

from comfy_api.latest import ComfyExtension, io

from ..caching import host_check
from .budget import ReCacheBudget, ReCacheBudgetTwoModels
from .compare import ReCacheCompare
from .frontier import ReCacheFrontier, ReCacheFrontierCustom
from .library import embed, folders
from .report import ReCacheReport
from .save_policy import ReCacheSavePolicy
from .server import routes, training_state
from .server.wording import reason_text
from .train import ReCacheTrain, ReCacheTrainCustom, ReCacheTrainingPrompt, ReCacheTrainTwoModels

folders.register()
embed.register()
training_state.register()
routes.register()
if host_check.moved():
    logging.getLogger(__name__).error("ReCache: %s", reason_text(host_check.obstacle()))


class ReCacheExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            ReCacheBudget, ReCacheBudgetTwoModels, ReCacheReport, ReCacheCompare, ReCacheFrontier,
            ReCacheFrontierCustom, ReCacheTrain, ReCacheTrainCustom, ReCacheTrainTwoModels, ReCacheTrainingPrompt,
            ReCacheSavePolicy]


async def comfy_entrypoint() -> ReCacheExtension:
    """Called by ComfyUI when it loads the pack."""
    return ReCacheExtension()
