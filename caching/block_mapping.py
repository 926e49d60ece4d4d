"""A mapping that stands for every transformer block through `patches_replace`: probes, records or skips them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .flops import FlopMeter
from .memory import own_work
from .reasons import Reason

PROBE_STRIDE = 8  # the ratio of two means needs no more tokens, and a whole probe would cost a feature of memory


def first_residual(output: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """The residual of the first block, on every PROBE_STRIDE-th token."""
    return output[:, ::PROBE_STRIDE] - base[:, ::PROBE_STRIDE]


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

    def image_tokens(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """View of the `count` image tokens in [batch, tokens, channels]; text comes first."""
        return tokens[:, tokens.shape[1] - count:]

    def with_image_tokens(self, tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """`tokens` with the image's replaced by `image`, as a new tensor."""
        rest = tokens.shape[1] - image.shape[1]
        if rest == 0:
            return image
        return torch.cat((tokens[:, :rest], image), dim=1)


class BlockMapping(dict):
    """`patches_replace["dit"]` for one call of the network; subclasses say what a block does.

    It has every key, so any architecture that reads the mapping works without being known. Patches that other nodes
    put there are called in their block's place.
    """

    def __init__(self, others: dict):
        super().__init__()
        self.others = others
        self.returned: dict = {}

    def __contains__(self, key) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def get(self, key, default=None):
        return self[key]

    def __getitem__(self, key):
        def block(args: dict, extra: dict) -> dict:
            other = self.others.get(key)
            compute = extra["original_block"] if other is None else lambda args: other(args, extra)
            # a model that joined streams since still holds what the last block returned: free it, it is a feature large
            self.returned.clear()
            out = self.run(key, args, compute)
            if not isinstance(out, dict):
                return out
            self.returned = dict(out)
            return self.returned
        return block

    def run(self, key: tuple, args: dict, compute: Callable[[dict], dict]) -> dict:
        raise NotImplementedError


class BlockProbe(BlockMapping):
    """The first computed call: finds the sequence of blocks, and whether skipping it whole is sound.

    It is sound if every block receives what the one before it returned: nothing is added in between (ControlNet,
    VACE and other residuals), apart from text tokens that join the image's.

    Args:
        with_base: keep the stack's input.
        probes: keep the first block's residual, which needs the stack's input.
        meter: counts the operations outside of blocks and of the first block of every kind, which stands for its
            kind; entered by the caller. None: nothing is counted.
    """

    def __init__(self, others: dict, with_base: bool, probes: bool, meter: FlopMeter | None):
        super().__init__(others)
        self.with_base = with_base
        self.probes = probes
        self.meter = meter
        self.kind_flops: dict[str, int] = {}
        self.called = False
        self.keys: list[tuple] = []
        self.base: torch.Tensor | None = None
        self.probe: torch.Tensor | None = None
        self.output: torch.Tensor | None = None
        self.tokens = 0
        self.refusal: Reason | None = None

    def run(self, key, args, compute):
        self.called = True
        image = args.get("img")
        if not (torch.is_tensor(image) and image.ndim == 3):
            self.refusal = self.refusal or Reason("blocks_not_one_stream")
        if self.refusal is not None:
            return compute(args)
        if self.output is None:
            self.tokens = image.shape[1]
            with own_work():
                self.base = image.clone() if self.with_base else None
        elif not self._linked(image):
            self.refusal = Reason("tokens_changed_between_blocks")
            return compute(args)
        out = self._count(key, args, compute)
        if not (isinstance(out, dict) and torch.is_tensor(out.get("img")) and set(out) <= set(args)):
            self.refusal = Reason("blocks_return_other")
            return out
        with own_work():
            if self.probes and not self.keys:
                self.probe = first_residual(out["img"], self.base)
            self.output = out["img"].clone()  # models go on to change this tensor in place
        self.keys.append(key)
        return out

    def _linked(self, image: torch.Tensor) -> bool:
        output = self.output
        if image.shape == output.shape:
            return torch.equal(image, output)
        count = output.shape[1]
        if image.shape[::2] != output.shape[::2] or image.shape[1] < count:
            return False
        return torch.equal(image[:, -count:], output)

    def _count(self, key, args, compute):
        kind = key[0]
        if self.meter is None:
            return compute(args)
        if kind in self.kind_flops:
            with self.meter.paused():
                return compute(args)
        before = self.meter.flops
        out = compute(args)
        self.kind_flops[kind] = self.meter.flops - before
        return out

    def stack(self) -> Stack:
        """The stack; call only if there are keys and no refusal."""
        in_blocks = sum(self.kind_flops.get(key[0], 0) for key in self.keys)
        if not in_blocks:  # not counted, or operations that can't be, such as quantised ones
            return Stack(self.keys[-1], 0.0, 1.0 / len(self.keys))
        total = self.meter.flops - sum(self.kind_flops.values()) + in_blocks
        return Stack(self.keys[-1], 1.0 - in_blocks / total, self.kind_flops[self.keys[0][0]] / total)


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
            with own_work():
                self.base = args["img"].clone() if self.with_base else None
        out = compute(args)
        if first and self.probes:
            with own_work():
                self.probe = first_residual(out["img"], self.base)
        if key == self.stack.last:
            self.record(self.stack.image_tokens(out["img"], self.tokens), self.base, self.probe)
        return out


class Skipper(BlockMapping):
    """A cached call: every block returns its input, and the last one the forecast.

    Args:
        probes: run the first block, for its residual.
        forecast: called with the stack's input and the first block's residual (None without a probe); returns the
            image tokens after the last block.
    """

    def __init__(self, others: dict, stack: Stack, probes: bool, forecast: Callable):
        super().__init__(others)
        self.stack = stack
        self.probes = probes
        self.forecast = forecast
        self.base: torch.Tensor | None = None
        self.probe: torch.Tensor | None = None
        self.done = False

    def run(self, key, args, compute):
        out = {name: args[name] for name in ("img", "txt") if name in args}
        if self.base is None:
            self.base = args["img"]
            if self.probes:
                with own_work():
                    self.base = args["img"].clone()
                out = compute(args)
                with own_work():
                    self.probe = first_residual(out["img"], self.base)
        if key == self.stack.last:
            with own_work():
                out["img"] = self.stack.with_image_tokens(out["img"], self.forecast(self.base, self.probe))
            self.done = True
        return out
