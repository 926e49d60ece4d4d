"""Two random-weight models big enough that the network, not the sampler around it, sets the time of a run.

Their latents have enough tokens that the blocks are bound by arithmetic, as those of real models are. With a few tokens
a CPU spends its time reading weights, and the embedders, which work on one token and run on every evaluation, weigh
several times what they do in use.
"""

from __future__ import annotations

from dataclasses import replace

from tests.tiny.families import FAMILIES, Family

_flux, _wan = FAMILIES["flux"], FAMILIES["wan21_t2v"]

BIG: dict[str, Family] = {
    "flux": replace(
        _flux,
        name="flux_big",
        title="FLUX type, width 1024, 4 + 16 blocks",
        unet_config={
            **_flux.unet_config,
            "hidden_size": 1024,
            "num_heads": 8,
            "depth": 4,
            "depth_single_blocks": 16,
        },
        latent_shape=(16, 24, 24),
        blocks=20,
    ),
    "wan": replace(
        _wan,
        name="wan_big",
        title="Wan type, width 1024, 16 blocks",
        unet_config={
            **_wan.unet_config,
            "dim": 1024,
            "num_heads": 8,
            "ffn_dim": 4096,
            "num_layers": 16,
        },
        latent_shape=(16, 5, 12, 16),
        blocks=16,
    ),
}
