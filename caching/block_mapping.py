"""A mapping that stands for every transformer block through `patches_replace`: records or skips them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .streams import joined, parted, with_img

PROBE_STRIDE = 8  # the ratio of two means needs no more tokens, and a whole probe would cost a feature of memory


def first_residual(output: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """The residual of the first block, on every PROBE_STRIDE-th token."""
    return output[:, ::PROBE_STRIDE] - base[:, ::PROBE_STRIDE]


def tokens_of(args: dict) -> dict[str, torch.Tensor]:
    """The tokens among a block's arguments or results, [batch, tokens, channels]: the image's and mostly the text's."""
    return {name: args[name] for name in ("img", "txt") if torch.is_tensor(args.get(name))}


@dataclass(frozen=True)
class Stack:
    """A model's stack of blocks, as far as skipping it takes.

    Attributes:
        last: key of the last block.
        cached_cost: what an evaluation that skips the blocks costs, as a share of a computed one.
        probe_cost: what the first block costs, likewise.
    """

    last: tuple
    cached_cost: float = 0.0
    probe_cost: float = 0.0


def image_tokens(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """View of the `count` image tokens in [batch, tokens, channels]; text comes first."""
    return tokens[:, tokens.shape[1] - count:]


def with_image_tokens(tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """`tokens` with the image's replaced by `image`, as a new tensor."""
    rest = tokens.shape[1] - image.shape[1]
    if rest == 0:
        return image
    return torch.cat((tokens[:, :rest], image), dim=1)


class BlockMapping(dict):
    """`patches_replace["dit"]` for one call of the network; subclasses say what a block does.

    It has every key, so any architecture that reads the mapping works without being known. Patches that other nodes
    put there are called in their block's place.

    Attributes:
        skips: whether blocks are skipped, so that the network has not run.
    """

    skips = False

    def __init__(self, others: dict):
        super().__init__()
        self.others = others
        self.returned: dict = {}

    def __contains__(self, key) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def get(self, key, default=None):
        replaced = key in self
        return self[key] if replaced else default

    def __getitem__(self, key):
        def block(args: dict, extra: dict) -> dict:
            other = self.others.get(key)
            compute = extra["original_block"] if other is None else lambda args: other(args, extra)
            # a model that joined streams since still holds what the last block returned: free it, it is a feature large
            self.returned.clear()
            out = self._run_joined(key, args, compute)
            if not isinstance(out, dict):
                return out
            self.returned = dict(out)
            return self.returned
        return block

    def _run_joined(self, key: tuple, args: dict, compute: Callable[[dict], dict]) -> dict:
        """`run` on one tensor of image tokens, whatever the block works on."""
        form, tokens = args.get("img"), joined(args.get("img"))
        if tokens is form:
            return self.run(key, args, compute)

        def lower(img):
            return form if img is tokens else parted(img, form)

        return with_img(self.run(key, {**args, "img": tokens},
                                 lambda given: with_img(compute(with_img(given, lower)), joined)), lower)

    def run(self, key: tuple, args: dict, compute: Callable[[dict], dict]) -> dict:
        raise NotImplementedError


class Recorder(BlockMapping):
    """A computed call: blocks run as ever; the first one's input and the last one's output are recorded.

    Args:
        record: called with the image tokens after the last block, the stack's input (None without `with_base`) and the
            first block's residual (None without `probes`).
    """

    def __init__(self, others: dict, stack: Stack, with_base: bool, probes: bool, record: Callable):
        super().__init__(others)
        self.stack = stack
        self.with_base = with_base
        self.probes = probes
        self.record = record
        self.base: torch.Tensor | None = None
        self.probe: torch.Tensor | None = None
        self.tokens = 0

    def run(self, key, args, compute):
        first = self.tokens == 0
        if first:
            self.tokens = args["img"].shape[1]
            self.base = args["img"].clone() if self.with_base else None
        out = compute(args)
        if first and self.probes:
            self.probe = first_residual(out["img"], self.base)
        if key == self.stack.last:
            self.record(image_tokens(out["img"], self.tokens), self.base, self.probe)
        return out


class Skipper(BlockMapping):
    """A cached call: every block returns its input, and the last one the forecast.

    Args:
        probes: run the first block, for its residual.
        forecast: called with the stack's input and the first block's residual (None without a probe); returns the
            image tokens after the last block.
    """

    skips = True

    def __init__(self, others: dict, stack: Stack, probes: bool, forecast: Callable):
        super().__init__(others)
        self.stack = stack
        self.probes = probes
        self.forecast = forecast
        self.base: torch.Tensor | None = None
        self.probe: torch.Tensor | None = None
        self.done = False

    def run(self, key, args, compute):
        out = tokens_of(args)
        if self.base is None:
            self.base = args["img"]
            if self.probes:
                self.base = args["img"].clone()
                out = compute(args)
                self.probe = first_residual(out["img"], self.base)
        if key == self.stack.last:
            out["img"] = with_image_tokens(out["img"], self.forecast(self.base, self.probe))
            self.done = True
        return out
