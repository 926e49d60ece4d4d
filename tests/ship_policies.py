"""Makes the policies of real models that the pack ships, from what others published (see published/README.md).

``python tests/run.py ship_policies`` makes those of FLUX.1-dev, Qwen-Image, HunyuanVideo and Wan 2.1 1.3B: schedules
that others found on the real models. With ``--costs FOLDER`` it also makes that of Wan 2.1 14B, from
``dpcache_cost_wan_i2v_50.npz`` there: an array cost[i, j, m] of forecast errors (DPCache, arXiv 2602.22654), converted
from the cost tensors in the repository EmanuelSilva69/DPCACHEamd (Apache-2.0); for every k of 5 to 40 the optimum.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tests.hosting import session
from tests.tiny.families import FAMILIES

if TYPE_CHECKING:
    from recache.policies.policy_file import About, PolicyFile

N = 50
PUBLISHED = Path(__file__).parent / "published" / "golden_paths.tsv"
HALF_CACHED = 30  # from so many of N on, the default schedule is better than a continuation (docs/policies.md)
COSTS, COSTS_KS = "dpcache_cost_wan_i2v_50.npz", range(5, 41)
# {forecast in PUBLISHED: mechanism and its options here}; "any": one schedule for all, used with the default mechanism
MECHANISMS: dict[str, tuple[str, dict[str, int]]] = {
    "taylor": ("taylor", {"order": 2}), "any": ("taylor", {"order": 1}), "residual": ("residual", {}),
    "mean-velocity": ("meancache", {})}
AT_OUTPUT = ("meancache",)  # its feature is the prediction; the others were found with features of the blocks
NAMES = {"residual": "{}-residual-published", "meancache": "{}-with-meancache-published"}  # of auto's equals the first
METHODS = {
    "searched-lpips": "hill climbing by LPIPS", "dpcache": "DPCache's dynamic program", "budcache": "BudCache's search",
    "meancache": "MeanCache's search", "shared": "one schedule for all prompts, models and mechanisms"}


@dataclass(frozen=True)
class RealModel:
    """A model whose schedules others published, and how it was sampled.

    Attributes:
        family: of tests.tiny; `config` is what ComfyUI reads from the real checkpoint where that is not the tiny one's.
        shift: ComfyUI's; `exponent` where it is the exponent of the factor, as for FLUX.
        sampler: as ComfyUI's nodes name it.
    """

    family: str
    config: dict[str, Any]
    shift: float
    cfg: float
    size: list[int]
    exponent: bool = False
    sampler: str = "euler"

    @cached_property
    def model(self) -> torch.nn.Module:
        """ComfyUI's model, without weights."""
        import comfy.supported_models

        tiny = FAMILIES[self.family]
        made = getattr(comfy.supported_models, tiny.config)({**tiny.unet_config, **self.config})
        made.set_inference_dtype(torch.float32, None)
        return made.get_model({}, device="meta")

    @property
    def layout(self) -> str:
        """Names its architecture (see model_identity.layout)."""
        from recache.caching import model_identity

        return model_identity.layout(self.model.diffusion_model)

    def times(self) -> tuple[float, ...]:
        """Evaluation times of N steps of a flow model: s t / (1 + (s - 1) t), t = 1, 0.98, ..., 0.02."""
        even, factor = 1.0 - np.arange(N) / N, np.exp(self.shift) if self.exponent else self.shift
        return tuple((factor * even / (1.0 + (factor - 1.0) * even)).tolist())

    def about(self, **more) -> About:
        """What its policies say of themselves."""
        from comfy.samplers import sampler_object

        from recache.caching import model_identity
        from recache.nodes.library.version import VERSION
        from recache.policies.policy_file import About

        said = {
            "pack_version": VERSION, "model_family": type(self.model).__name__, "cache_point": "blocks",
            "sampler": model_identity.sampler_name(sampler_object(self.sampler)), "scheduler": "simple", "steps": N,
            "cfg": self.cfg, "size": self.size, "shift": self.shift, "model_identity": {"layout": self.layout}}
        return About(**{**said, **more})


WAN_14B = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}
MODELS = {
    "flux1-dev": RealModel(
        "flux", {"hidden_size": 3072, "num_heads": 24, "depth": 19, "depth_single_blocks": 38, "context_in_dim": 4096,
                 "vec_in_dim": 768}, 1.15, 1.0, [1024, 1024], exponent=True),
    "qwen-image": RealModel("qwen_image", {"num_layers": 60, "num_attention_heads": 24, "joint_attention_dim": 3584},
                            1.15, 4.0, [1328, 1328], exponent=True),
    "hunyuan-video": RealModel(
        "hunyuan_video", {"hidden_size": 3072, "num_heads": 24, "depth": 20, "depth_single_blocks": 40,
                          "context_in_dim": 4096}, 7.0, 1.0, [640, 480, 65]),
    "wan2.1-t2v-1.3b": RealModel(
        "wan21_t2v", {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}, 5.0, 5.0, [832, 480, 65],
        sampler="uni_pc"),
}


def published() -> dict[tuple[str, str, str], dict[int, list[int]]]:
    """{(model, method, forecast): {k: computed evaluations}}."""
    found: dict[tuple[str, str, str], dict[int, list[int]]] = {}
    with PUBLISHED.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            computed = [i for i, cached in enumerate(row["cached"]) if cached == "0"]
            found.setdefault((row["model"], row["method"], row["forecast"]), {})[int(row["k"])] = computed
    return found


def from_published() -> Iterator[PolicyFile]:
    """The policies that are made from published schedules."""
    from recache.policies.defaults import default_schedule
    from recache.policies.policy import from_schedules
    from recache.policies.policy_file import PolicyFile
    from recache.policies.schedule import Schedule, from_indices

    for (model, method, forecast), computed in published().items():
        real, (mechanism, options) = MODELS[model], MECHANISMS[forecast]
        times = real.times()
        schedules = {k: from_indices(indices, N, times) for k, indices in computed.items()}
        schedules |= {k: Schedule(default_schedule(N, k).computed, times) for k in range(HALF_CACHED, N)}
        about = real.about(
            name=NAMES.get(mechanism, "{}-published").format(model), mechanism=mechanism, mechanism_options=options,
            cache_point="output" if mechanism in AT_OUTPUT else "blocks", reward=METHODS[method], notes=(
                f"For {', '.join(map(str, computed))} of {N}: schedules that others found on the real model "
                f"({METHODS[method]}; nanguoyu/Golden-Path-Hypothesis, MIT), not measured by us. Between and below "
                f"them interpolated; from {HALF_CACHED} on the pack's default. For other numbers of steps, such as 20 "
                "and 30, carried over and not found there. Its evaluation times are our assumption."))
        yield PolicyFile(from_schedules(schedules), about)


def from_costs(cost: np.ndarray) -> PolicyFile:
    """The policy of Wan 2.1 14B: the optimum of every k that has one, and their costs beside the uniform schedule's."""
    from recache.policies.learning.dynamic_program import solve
    from recache.policies.policy import from_schedules
    from recache.policies.policy_file import PolicyFile
    from recache.policies.uniform import uniform
    from tests.bench.baselines import RecordedCosts

    text, image = (RealModel(family, WAN_14B, 5.0, 3.0, []) for family in ("wan21_t2v", "wan21_i2v"))
    best, measured = solve(cost, COSTS_KS, text.times()), RecordedCosts(cost)
    about = text.about(
        name="wan2.1-published", mechanism="taylor", mechanism_options={"order": 2},
        model_identity={"layout image to video 14B": image.layout, "layout text to video 14B": text.layout},
        reward="published L1 error of the last block", notes=(
            "Fitted to error measurements that others published (DPCache, arXiv 2602.22654; tensors from "
            "EmanuelSilva69/DPCACHEamd, Apache-2.0), not to uncached outputs. The exact optimum for every k from 5 to "
            f"40 of {N}. Its evaluation times are our assumption."))
    table = {k: {"optimum": measured.cost(s), "uniform": measured.cost(uniform(N, k))} for k, s in best.items()}
    return PolicyFile(from_schedules(best), about, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, help=f"the folder of {COSTS}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        session.start(os.environ["COMFYUI_PATH"], base)
        from recache.nodes.library.folders import SHIPPED
        from recache.policies.policy_file import save

        made = list(from_published())
        if arguments.costs is not None:
            with np.load(arguments.costs / COSTS) as arrays:
                made.append(from_costs(arrays["cost"]))
        for file in made:
            save(SHIPPED / f"{file.about.name}.safetensors", file)
            print(f"{file.about.name}: {file.about.mechanism}, k = {', '.join(map(str, file.policy.budgets))}; at 9 "
                  f"{file.policy.schedule(9)}")


if __name__ == "__main__":
    main()
