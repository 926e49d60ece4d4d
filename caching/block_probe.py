"""The first computed call of a network: finds its blocks, and whether it is sound to skip them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import comfy.model_management
import torch

from .block_cost import BlockCost, count_compiled, is_compiled
from .block_mapping import PROBE_STRIDE, BlockMapping, Skipper, Stack, first_residual, image_tokens, tokens_of
from .history import Features, NoForecast
from .host_calls import NetworkCall
from .mechanisms import Mechanism
from .memory import is_out_of_memory
from .reasons import Reason

NO_BLOCKS = Stack(())
_ROUNDING = 1e-3  # relative; a lost argument changes some percent


def split(call: NetworkCall, image: torch.Tensor, base: torch.Tensor | None, probe: torch.Tensor | None
          ) -> list[Features]:
    """The features of every cond in a call's batch."""
    n = len(call.keys)
    bases = [None] * n if base is None else base.chunk(n)
    probes = [None] * n if probe is None else probe.chunk(n)
    return list(map(Features, call.keys, image.chunk(n), bases, probes))


@dataclass(frozen=True)
class Probed:
    """What probing the first computed call found.

    Attributes:
        out: the network's output.
        refusal: why blocks can't be the cache point, or None.
        stack: the blocks; empty if refused.
        features: of the call; empty if refused.
        cached_cost: cost of a cached evaluation, as a share of a computed one.
    """

    out: torch.Tensor
    refusal: Reason | None
    stack: Stack = NO_BLOCKS
    features: Sequence[Features] = ()
    cached_cost: float = 0.0


class Refused(Exception):
    """Blocks can't be the cache point."""

    def __init__(self, code: str):
        super().__init__(code)
        self.reason = Reason(code)


def probe_blocks(call: NetworkCall, mechanism: Mechanism) -> Probed:
    """Compute a call, and find out whether its blocks can be skipped.

    The host has two paths to a block: its plain one, and one for blocks that are replaced. Where skipping is unsound,
    or the second path fails or gives something else, the call is computed on the plain one.

    Raises:
        Exception: memory ran out, or whatever the plain path raises.
    """
    if is_compiled(call.model.diffusion_model):  # by the host's wrapper, which may also compile single blocks
        return Probed(call.run(), Reason("compiled"))
    try:
        return _probe(call, mechanism)
    except (Refused, NoForecast) as error:
        reason = error.reason
    except comfy.model_management.InterruptProcessingException:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = Reason("blocks_failed", {"error": str(error) or type(error).__name__})
    return Probed(call.run(), reason)


def _probe(call: NetworkCall, mechanism: Mechanism) -> Probed:
    compiled = any(map(is_compiled, call.model.diffusion_model.modules()))
    cost = BlockCost()
    probe = BlockProbe(call, mechanism, cost)
    with nullcontext() if compiled else cost:
        out = call.run(probe)
    if not probe.keys:
        return Probed(out, Reason("no_blocks"))
    if compiled:
        count_compiled(call, cost)
    stack = cost.stack(probe.keys)
    image = image_tokens(probe.output, probe.tokens)
    if not same(call.run(Replay(probe, stack, image)), out):
        raise Refused("blocks_differ")
    cost = stack.cached_cost + (stack.probe_cost if mechanism.probes else 0.0)
    return Probed(out, None, stack, split(call, image, probe.base, probe.probe), cost)


def same(tensor: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two tensors are equal, but for kernels that add in another order each time."""
    norm = torch.linalg.vector_norm
    return tensor.shape == expected.shape and bool(
        norm(tensor - expected, dtype=torch.float32) <= _ROUNDING * norm(expected, dtype=torch.float32))


def sample(tokens: torch.Tensor) -> torch.Tensor:
    """Some of the tokens: another argument of a block changes all."""
    return tokens[:, ::PROBE_STRIDE]


class BlockProbe(BlockMapping):
    """Finds the sequence of blocks, and whether skipping it whole is sound.

    It is sound if every block receives what the one before it returned: nothing is added in between (ControlNet,
    VACE and other residuals), apart from text tokens that join the image's. Else it raises Refused through the network.

    Args:
        cost: counts operations, if the caller has entered it.

    Attributes:
        plain: the first block of every kind, if none of them comes before it: what a Replay computes on the plain path.
        before: {block: what it returned}, of those before them.
        after: {block: samples of what it received}, of those after them.
    """

    def __init__(self, call: NetworkCall, mechanism: Mechanism, cost: BlockCost):
        super().__init__(call.other_patches)
        self.call = call
        self.mechanism = mechanism
        self.cost = cost
        self.keys: list[tuple] = []
        self.base: torch.Tensor | None = None
        self.probe: torch.Tensor | None = None
        self.returned_last: dict[str, torch.Tensor] = {}
        self.tokens = 0
        self.plain: list[tuple] = []
        self.before: dict[tuple, dict[str, torch.Tensor]] = {}
        self.after: dict[tuple, dict[str, torch.Tensor]] = {}

    @property
    def output(self) -> torch.Tensor:
        """What the last block so far returned."""
        return self.returned_last["img"]

    def run(self, key, args, compute):
        self._check_input(key, args.get("img"))
        if not self.keys:
            self.tokens = args["img"].shape[1]
            self.base = args["img"].clone() if self.mechanism.of_residual else None
        self._prepare_replay(key, args)
        out = self.cost.count(key, lambda: compute(args))
        if not (isinstance(out, dict) and torch.is_tensor(out.get("img")) and set(out) <= set(args)):
            raise Refused("blocks_return_other")
        if self.mechanism.probes and not self.keys:
            self.probe = first_residual(out["img"], self.base)
        # models go on to change these tensors in place
        self.returned_last = {name: tokens.clone() for name, tokens in tokens_of(out).items()}
        self.keys.append(key)
        return out

    def _check_input(self, key: tuple, image) -> None:
        if not (torch.is_tensor(image) and image.ndim == 3):
            raise Refused("blocks_not_one_stream")
        if image.shape[0] % len(self.call.keys):
            raise Refused("blocks_other_batch")
        if key[0] in self.call.options.get("patches", {}):
            raise Refused("tokens_patched")
        if self.keys and not self._linked(image):
            raise Refused("tokens_changed_between_blocks")

    def _linked(self, image: torch.Tensor) -> bool:
        output = self.output
        if image.shape == output.shape:
            return torch.equal(image, output)
        count = output.shape[1]
        if image.shape[::2] != output.shape[::2] or image.shape[1] < count:
            return False
        return torch.equal(image[:, -count:], output)

    def _prepare_replay(self, key: tuple, args: dict) -> None:
        if self.keys and self.keys[-1] in self.plain:
            self.after[key] = {name: sample(tokens).clone() for name, tokens in tokens_of(args).items()}
        elif key[0] not in [kind for kind, *_ in self.plain]:
            self.plain.append(key)
            if self.keys:
                self.before[self.keys[-1]] = self.returned_last


class Replay(Skipper):
    """The probed call once more, as a cached one that is given the features that it computed.

    Its output must be the same. One block of every kind is left to the plain path, so what the block after it receives
    must be the same too, else Refused is raised. The cost is that of a cached evaluation and of those blocks, not that
    of a second whole one.
    """

    def __init__(self, probe: BlockProbe, stack: Stack, image: torch.Tensor):
        super().__init__(probe.others, stack, False, lambda *_: image.clone())  # which the model may change in place
        self.plain, self.before, self.after = probe.plain, probe.before, probe.after

    def __contains__(self, key) -> bool:
        return key not in self.plain or key in self.others

    def run(self, key, args, compute):
        if key in self.plain:  # with another node's patch in its place
            return compute(args)
        for name, expected in self.after.get(key, {}).items():
            if not same(sample(args[name]), expected):
                raise Refused("blocks_differ")
        return super().run(key, args, compute) | self.before.get(key, {})
