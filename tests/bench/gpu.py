"""Full-size models on a CUDA GPU, with random weights: speed-up, memory, half precision, torch.compile.

The networks are the host's own, at the sizes of FLUX.1 dev (1024 x 1024) and Wan 2.1 14B (832 x 480, 33 frames); the
weights are made on the GPU, since speed and memory do not depend on their values. Figures, for every cell:
    speedup_over_ideal: median of alternating pairs, over N/k.
    cached_over_computed: seconds of a cached evaluation over those of a computed one.
    seconds_computed: of one computed evaluation.
    peak_above_uncached: bytes of GPU memory at the peak, above those of the uncached run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from os import environ
from pathlib import Path
from statistics import median

import torch

from tests.bench.figures import Figure, publish
from tests.hosting import session

STEPS, TOKENS = 20, 512


def full_size(name: str):
    """The family `name` at its real size."""
    from tests.tiny.conditioning import pooled
    from tests.tiny.families import FAMILIES

    if name == "wan 14B":
        family = FAMILIES["wan21_t2v"]
        sizes = {"dim": 5120, "num_heads": 40, "ffn_dim": 13824, "num_layers": 40}
        return replace(family, unet_config={**family.unet_config, **sizes}, latent_shape=(16, 9, 60, 104))
    family = FAMILIES["flux"]
    depth = {"flux.1": (19, 38), "flux.1 width, 6 blocks": (2, 4)}[name]
    sizes = {"hidden_size": 3072, "num_heads": 24, "context_in_dim": 4096, "vec_in_dim": 768, "depth": depth[0],
             "depth_single_blocks": depth[1]}
    return replace(family, unet_config={**family.unet_config, **sizes}, latent_shape=(16, 128, 128), text_width=4096,
                   extras=pooled(768, guidance=3.5))


def load(family, dtype: torch.dtype):
    """A MODEL with random weights, made on the GPU."""
    import comfy.model_patcher
    import comfy.supported_models

    config = getattr(comfy.supported_models, family.config)(dict(family.unet_config))
    config.set_inference_dtype(dtype, None)
    network = config.get_model({}, device="cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    with torch.no_grad():
        for parameter in network.diffusion_model.parameters():
            parameter.normal_(0.0, 0.02, generator=generator)
    return comfy.model_patcher.ModelPatcher(network, load_device=torch.device("cuda"),
                                            offload_device=torch.device("cuda"))


def sample(model, family, steps: int) -> tuple[float, int]:
    """Seconds and peak bytes of the host's sampling at cfg 1."""
    import comfy.sample

    positive, negative = family.conditioning()
    latent = family.latent()["samples"]
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    comfy.sample.sample(model, latent, steps, 1.0, "euler", "simple", positive, negative, torch.zeros_like(latent),
                        disable_pbar=True, seed=0)
    torch.cuda.synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated()


def measure(name: str, dtype: torch.dtype, cells: list[tuple[str, int, str, int]], repeats: int,
            compiled: bool = False) -> Iterator[Figure]:
    """The figures of cells (mechanism, order, cache point, k)."""
    from recache import caching
    from recache.policies.uniform import uniform
    from tests.tiny import families

    families.TOKENS = TOKENS
    family = full_size(name)
    model = load(family, dtype)
    if compiled:
        from comfy_api.torch_helpers import set_torch_compile_wrapper

        set_torch_compile_wrapper(model, backend="inductor")
    sample(model, family, 2)
    for mechanism, order, point, k in cells:
        settings = caching.CacheConfig(lambda times, cost, k=k: uniform(len(times), k).computed, mechanism=mechanism,
                                    order=order, cache_point=point)
        cached = caching.attach(model, settings)
        sample(cached, family, 2)
        speedups, peaks = [], []
        for _ in range(repeats):
            plain_seconds, plain_peak = sample(model, family, STEPS)
            seconds, peak = sample(cached, family, STEPS)
            speedups.append(plain_seconds / seconds)
            peaks.append(peak - plain_peak)
        report = caching.reports_of(settings.identity)[-1]
        cell = {"model": name, "dtype": str(dtype).removeprefix("torch."), "compiled": compiled,
                "mechanism": mechanism, "order": order, "cache_point": report.cache_point, "k": k, "n": STEPS,
                "device": torch.cuda.get_device_name()}
        if len(report.computed) != k:
            raise RuntimeError(f"{cell}: computed {report.computed}; {report.notes}")
        yield Figure("speedup_over_ideal", median(speedups) / (STEPS / k), "1", cell)
        yield Figure("cached_over_computed", report.seconds_cached / report.seconds_computed, "1", cell)
        yield Figure("seconds_computed", report.seconds_computed, "s", cell)
        yield Figure("peak_above_uncached", max(peaks), "bytes", cell)
        print(f"{name} {mechanism} {report.cache_point}: {len(report.computed)} of {report.evaluations} computed, "
              f"{report.measured_speedup or 1:.2f}x; {report.cache_point_reason}; "
              f"charged {report.cached_cost}", file=sys.stderr, flush=True)
    del model
    torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=2, help="pairs of runs")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA GPU with 40 GB of memory or more.")
    taylor = [("taylor", 1, "blocks", 5), ("taylor", 1, "output", 5)]
    figures = []
    with tempfile.TemporaryDirectory() as base, torch.inference_mode():
        session.start(environ["COMFYUI_PATH"], base, cpu=False)
        for parts in (
            ("flux.1 width, 6 blocks", torch.bfloat16, taylor, arguments.repeats, True),
            ("flux.1", torch.bfloat16, [*taylor, ("taylor", 2, "blocks", 5), ("dicache", 1, "blocks", 5)],
             arguments.repeats),
            ("flux.1", torch.float16, taylor[:1], arguments.repeats),
            ("wan 14B", torch.bfloat16, taylor, 1),
        ):
            try:
                figures += measure(*parts)
            except Exception as error:  # noqa: BLE001  one model that fails leaves the others' figures
                print(f"{parts[0]}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        publish(figures, arguments.json)


if __name__ == "__main__":
    main()
