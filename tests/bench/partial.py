"""Finer than a step: does recomputing part of the block stack on cached evaluations pay for itself?

A run computes some evaluations whole, some in part, and forecasts the others after the last block. "rear": the last
blocks run on a forecast of what enters them; "front": the first blocks run, and what the others add is forecast. All
forecasts are Taylor's of order 1. A part costs the share of the blocks' weights that it runs, so four parts of a
quarter stand in the place of one whole evaluation, in the middle of the longest gaps. Figures of a cell:
``latent_ratio``, the geometric mean over samples of the latents' squared error over that of as much compute spent on
whole evaluations only, in the default schedule, with its 95% interval; below 1 the parts win.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path

import torch

from tests.bench.few_steps import Runs, default, log_ratio, ratio_figures
from tests.bench.figures import Figure, publish
from tests.bench.sampling import host

KEY = "bench.partial"
CELLS = {"flux": ((20, 6), (20, 10), (50, 9)), "wan": ((20, 6), (20, 10))}
BLOCKS = {"flux": (*(("double_block", i) for i in range(2)), *(("single_block", i) for i in range(8))),
          "wan": tuple(("double_block", i) for i in range(8))}
FIRST_REAR = {"flux": 7, "wan": 6}  # a quarter of the blocks' weights lies behind it (FLUX: 0.23)
FIRST_SKIPPED = {"flux": 2, "wan": 2}  # a share of them lies before it: 0.38 of FLUX's, a quarter of Wan's
COSTS = {("flux", "rear"): 0.234, ("flux", "front"): 0.375, ("wan", "rear"): 0.25, ("wan", "front"): 0.25}
WHOLE, PART, FORECAST = "whole", "part", "forecast"


def placed(n: int, whole: Sequence[int], parts: int) -> dict[int, str]:
    """What each evaluation does: `parts` of those between the whole ones are halfway in the longest gaps."""
    taken = sorted(whole)
    kinds = {i: WHOLE if i in whole else FORECAST for i in range(n)}
    for _ in range(parts):
        ends = [*taken, n]
        gap, start = max((after - before, before) for before, after in pairwise(ends))
        if gap < 2:
            break
        kinds[start + gap // 2] = PART
        taken = sorted([*taken, start + gap // 2])
    return kinds


class Trend:
    """The last two values of a quantity, and the line through them."""

    def __init__(self):
        self._known: list[tuple[int, torch.Tensor]] = []

    def record(self, now: int, value: torch.Tensor) -> None:
        self._known = [(now, value.clone()), *self._known[:1]]

    def at(self, now: int) -> torch.Tensor:
        newest, value = self._known[0]
        if len(self._known) == 1:
            return value.clone()
        before, older = self._known[1]
        return value + (value - older) * ((now - newest) / (newest - before))


class Partial:
    """Replacements of a model's blocks that follow `kinds`; `continues`: later forecasts go on from parts, too."""

    def __init__(self, blocks: Sequence[tuple], split: int, rear: bool, kinds: dict[int, str], continues: bool):
        self.blocks, self.split, self.rear, self.kinds, self.continues = blocks, split, rear, kinds, continues
        self.begin()

    def begin(self) -> None:
        self.now, self.call = -1, -1
        self.trends: dict[tuple, Trend] = {}

    def step(self) -> None:
        self.now, self.call = self.now + 1, -1

    def trend(self, name: str) -> Trend:
        """Of a quantity of this call of the network; the host may give conds to it one after the other."""
        return self.trends.setdefault((self.call, name), Trend())

    def block(self, place: int, args: dict, extra: dict) -> dict:
        """What the block at `place` of the stack returns."""
        if place == 0:
            self.call += 1
        kind, last = self.kinds[self.now], len(self.blocks) - 1
        tokens = {name: args[name] for name in ("img", "txt") if torch.is_tensor(args.get(name))}
        if place == self.split and kind == WHOLE:
            for name, value in tokens.items():
                self.trend(name).record(self.now, value)
        if place == self.split:
            self.entry = tokens["img"].clone()
        if place == self.split and kind == PART and self.rear:
            args = {**args, **{name: self.trend(name).at(self.now) for name in tokens}}
        runs = kind == WHOLE or (kind == PART and (place >= self.split) == self.rear)
        out = extra["original_block"](args) if runs else tokens
        if place == last:
            if kind == WHOLE and not self.rear:
                self.trend("added").record(self.now, out["img"] - self.entry)
            if kind == PART and not self.rear:
                out["img"] = self.entry + self.trend("added").at(self.now)
            if kind == FORECAST:
                out["img"] = self.trend("after").at(self.now)
            elif kind == WHOLE or self.continues:
                self.trend("after").record(self.now, out["img"])
        return out

    def on(self, model):
        """A clone of the MODEL with these replacements."""
        from comfy.patcher_extension import WrappersMP

        def outer_sample(executor, *args, **kwargs):
            self.begin()
            return executor(*args, **kwargs)

        def predict_noise(executor, *args, **kwargs):
            self.step()
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer_sample)
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
        for place, (name, number) in enumerate(self.blocks):
            model.set_model_patch_replace(
                lambda args, extra, place=place: self.block(place, args, extra), "dit", name, number)
        return model


def measure(demo, n: int, ks: Sequence[int], samples: int) -> Iterator[Figure]:
    runs = Runs(demo, demo.samples(samples), n)

    def error(k: int, parts: int, rear: bool, continues: bool) -> torch.Tensor:
        split = (FIRST_REAR if rear else FIRST_SKIPPED)[demo.name]
        partial = Partial(BLOCKS[demo.name], split, rear, placed(n, default(n, k), parts), continues)
        return runs.error(demo.sample(partial.on(demo.model), runs.samples, n))

    for k in ks:
        whole = error(k, 0, True, True)
        for way, fewer, continues in product(("rear", "front"), (1, 2), (True, False)):
            parts = round(fewer / COSTS[demo.name, way])
            if parts <= n - k:
                cell = {"model": demo.name, "n": n, "compute": k, "whole": k - fewer, "parts": parts, "way": way,
                        "continues": continues}
                found = error(k - fewer, parts, way == "rear", continues)
                yield from ratio_figures(("latent_ratio", "low", "high"), log_ratio(found, whole), cell)


def measure_all(options, models: Path) -> Iterator[Figure]:
    from tests.bench import demo_models

    for name in options.models:
        demo = demo_models.load(name, models)
        for n in sorted({n for n, _ in CELLS[name]}):
            yield from measure(demo, n, [k for steps, k in CELLS[name] if steps == n], options.samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--samples", type=int, default=16, help="prompt-seed pairs")
    options = parser.parse_args()
    with host(cpu=not torch.cuda.is_available()) as comfy, torch.inference_mode():
        publish(measure_all(options, comfy.models), options.json)


if __name__ == "__main__":
    main()
