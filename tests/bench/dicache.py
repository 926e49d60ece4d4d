"""DiCache's own, online way to decide what is computed (arXiv 2508.17356): the first block runs on every evaluation.

How far it moves since the last computed evaluation is summed up, as a share of where it was, and past a threshold the
evaluation is computed. Every sample of a batch decides for itself; a cond and its uncond together. As in the authors'
program for FLUX, the first and the last evaluation are always computed; it also computes the first fifth, which small
budgets do not pay for, so that is left out.
"""

from __future__ import annotations

import torch
from comfy.patcher_extension import WrappersMP

from recache.caching.block_mapping import BlockMapping, image_tokens, with_image_tokens

ERRORS = ("probe", "probe minus input")
KEY = "bench.dicache"


class DiCacheRun:
    """One sampling run of a batch.

    Args:
        error: what is summed up: the probe's relative change, or its difference from that of the blocks' input.
        gamma_max: 1.5 for images, 2 for video.

    Attributes:
        computed: evaluations computed so far, one bool a sample each.
    """

    def __init__(self, steps: int, threshold: float, error: str, gamma_max: float):
        self.steps, self.threshold, self.error, self.gamma_max = steps, threshold, error, gamma_max
        self.computed: list[torch.Tensor] = []
        self.last: tuple | None = None
        self.before: dict[str, torch.Tensor] = {}  # the previous evaluation's input and probe
        self.sum = torch.zeros(())
        self.residuals: list[torch.Tensor] = []  # [2, rows, ...] of the last two computed ones, newest first
        self.probes: list[torch.Tensor] = []
        self.held = torch.zeros((), dtype=torch.long)  # how many of them a row has

    def decide(self, conds: int, base: torch.Tensor, probe: torch.Tensor) -> torch.Tensor:
        """Which samples compute this evaluation, [batch]; tensors [conds * batch, tokens, channels]."""
        now, index = {"base": base, "probe": probe}, len(self.computed)

        def change(name: str) -> torch.Tensor:
            moved, size = ((t.abs().unflatten(0, (conds, -1)).mean((0, 2, 3)))
                           for t in (now[name] - self.before[name], self.before[name]))
            return moved / size

        if index in (0, self.steps - 1):
            chosen = torch.ones(len(base) // conds, dtype=torch.bool)
        else:
            error = change("probe") if self.error == "probe" else (change("probe") - change("base")).abs()
            self.sum = self.sum + error
            chosen = self.sum >= self.threshold
        self.before, self.sum = now, torch.where(chosen, 0.0, self.sum)
        self.computed.append(chosen)
        return chosen

    def reconstruct(self, rows: torch.Tensor, base: torch.Tensor, probe: torch.Tensor,
                    image: torch.Tensor | None) -> torch.Tensor:
        """The blocks' output: `image` for the rows that computed it, the forecast for the others."""
        movement = probe - base
        if image is None:
            return base + self._forecast(movement)
        residual = image - base
        if not self.residuals:
            self.residuals, self.probes = [residual, residual], [movement, movement]
            self.held = torch.ones(len(base), dtype=torch.long)
            return image
        result = torch.where(rows[:, None, None], image, base + self._forecast(movement))
        for kept, new in ((self.residuals, residual), (self.probes, movement)):
            kept[:] = [torch.where(rows[:, None, None], a, b) for a, b in ((new, kept[0]), (kept[0], kept[1]))]
        self.held = self.held + rows
        return result

    def _forecast(self, movement: torch.Tensor) -> torch.Tensor:
        (newest, before), (probe, probe_before) = self.residuals, self.probes
        gamma = (movement - probe_before).abs().mean((1, 2)) / (probe - probe_before).abs().mean((1, 2))
        gamma = torch.where(self.held > 1, gamma.clamp(1.0, self.gamma_max), 1.0)[:, None, None]
        return before + gamma * (newest - before)


class _Blocks(BlockMapping):
    """One call of the network."""

    def __init__(self, others: dict, run: DiCacheRun, conds: int):
        super().__init__(others)
        self.dicache, self.conds, self.base = run, conds, None

    def run(self, key, args, compute):
        first = self.base is None
        if first:
            self.base = args["img"].clone()
            out = compute(args)
            self.probe = out["img"].clone()
            self.rows = self.dicache.decide(self.conds, self.base, self.probe).repeat(self.conds)
        elif self.rows.any():
            out = compute(args)
        else:
            out = {name: args[name] for name in ("img", "txt") if name in args}
        if self.dicache.last is None:
            self.key, self.output = key, out["img"].clone()
        elif key == self.dicache.last:
            image = image_tokens(out["img"], self.base.shape[1]) if self.rows.any() else None
            out["img"] = with_image_tokens(
                out["img"], self.dicache.reconstruct(self.rows, self.base, self.probe, image))
        return out

    def end(self) -> None:
        """After the first call of a run, which teaches what the last block is."""
        if self.dicache.last is None:
            self.dicache.last = self.key
            image = image_tokens(self.output, self.base.shape[1])
            self.dicache.reconstruct(self.rows, self.base, self.probe, image)


def attach(model, steps: int, threshold: float, error: str):
    """A clone of the MODEL that samples so, and the list that its runs are added to.

    The host must call the network once an evaluation, with all conds in one batch, as it does where memory allows.
    """
    model, runs = model.clone(), []

    def outer_sample(executor, noise, *args, **kwargs):
        runs.append(DiCacheRun(steps, threshold, error, 2.0 if noise.ndim == 5 else 1.5))
        samples = executor(noise, *args, **kwargs)
        if len(runs[-1].computed) != steps:
            raise RuntimeError(f"the network was called {len(runs[-1].computed)} times in {steps} evaluations")
        return samples

    def apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
        replace = transformer_options.get("patches_replace", {})
        mapping = _Blocks(replace.get("dit", {}), runs[-1], len(transformer_options["uuids"]))
        options = transformer_options | {"patches_replace": replace | {"dit": mapping}}
        out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        mapping.end()
        return out

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer_sample)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, apply_model)
    return model, runs
