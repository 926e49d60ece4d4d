"""Makes the policies of FLUX.1-dev and Wan 2.1 that the pack ships, from published error measurements.

``python tests/run.py ship_policies FOLDER`` reads ``dpcache_cost_flux_50.npz`` and ``dpcache_cost_wan_i2v_50.npz``:
arrays cost[i, j, m] of the forecast errors of real models (DPCache, arXiv 2602.22654), converted from the cost tensors
in the repository EmanuelSilva69/DPCACHEamd (Apache-2.0). For every k of 5 to 40 the schedule is the exact optimum.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.hosting import session
from tests.tiny.families import FAMILIES

N, KS = 50, range(5, 41)
# What tells the real models from others: what ComfyUI reads from their checkpoints, where it is not a tiny family's.
FLUX = {"hidden_size": 3072, "num_heads": 24, "depth": 19, "depth_single_blocks": 38, "context_in_dim": 4096,
        "vec_in_dim": 768}
WAN_14B = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}
WAN_1_3B = {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}


def layout(family: str, config: dict) -> str:
    """Names the architecture of a real model, made without its weights."""
    import comfy.supported_models

    from recache.caching import model_identity

    tiny = FAMILIES[family]
    made = getattr(comfy.supported_models, tiny.config)({**tiny.unet_config, **config})
    made.set_inference_dtype(torch.float32, None)
    return model_identity.layout(made.get_model({}, device="meta").diffusion_model)


def times(shift: float) -> tuple[float, ...]:
    """Evaluation times of 50 steps of a flow model with this shift: s t / (1 + (s - 1) t), t = 1, 0.98, ..., 0.02."""
    even = 1.0 - np.arange(N) / N
    return tuple((shift * even / (1.0 + (shift - 1.0) * even)).tolist())


def policy(cost: np.ndarray, evaluation_times: tuple[float, ...], about):
    """The optimum of every k that has one, and their costs beside the uniform schedule's."""
    from recache.policies.learning.dynamic_program import solve
    from recache.policies.policy import from_schedules
    from recache.policies.policy_file import PolicyFile
    from recache.policies.uniform import uniform
    from tests.bench.baselines import RecordedCosts

    best = solve(cost, KS, evaluation_times)
    measured = RecordedCosts(cost)
    table = {k: {"optimum": measured.cost(s), "uniform": measured.cost(uniform(N, k))} for k, s in best.items()}
    return PolicyFile(from_schedules(best), about, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the two arrays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        session.start(os.environ["COMFYUI_PATH"], base)
        from recache.nodes.library.folders import SHIPPED
        from recache.nodes.library.version import VERSION
        from recache.policies.policy_file import About, save

        about = About(
            name="", pack_version=VERSION, model_family="Flux", mechanism="taylor", mechanism_options={"order": 2},
            cache_point="blocks", sampler="euler", scheduler="simple", steps=N, cfg=1.0, size=[],
            reward="published L1 error of the last block", shift=1.15, notes=(
                "Fitted to error measurements that others published (DPCache, arXiv 2602.22654; tensors from "
                "EmanuelSilva69/DPCACHEamd, Apache-2.0), not to uncached outputs. The exact optimum for every k from 5 "
                "to 40 of 50. Its evaluation times are our assumption."))
        # ComfyUI's FLUX shift of 1.15 is an exponent
        flux = replace(about, name="flux1-dev-published", model_identity={"layout": layout("flux", FLUX)})
        wan = replace(about, name="wan2.1-published", model_family="WAN21", cfg=3.0, shift=5.0, model_identity={
            "layout image to video 14B": layout("wan21_i2v", WAN_14B),
            "layout text to video 14B": layout("wan21_t2v", WAN_14B),
            "layout text to video 1.3B": layout("wan21_t2v", WAN_1_3B)})
        for file, described, shift in (("dpcache_cost_flux_50.npz", flux, float(np.exp(flux.shift))),
                                       ("dpcache_cost_wan_i2v_50.npz", wan, wan.shift)):
            with np.load(arguments.data / file) as arrays:
                made = policy(arrays["cost"], times(shift), described)
            save(SHIPPED / f"{described.name}.safetensors", made)
            print(f"{described.name}: k = {made.policy.budgets[0]} to {made.policy.budgets[-1]}; at 9 "
                  f"{made.policy.schedule(9)}, cost {made.validation[9]['optimum']:.4g} instead of "
                  f"{made.validation[9]['uniform']:.4g}")


if __name__ == "__main__":
    main()
