"""The host calls that the cache points compute or forecast, and the keys of their histories."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch

from .block_mapping import BlockMapping
from .cond_ranges import is_active
from .history import NoForecast
from .latents import Latents
from .reasons import Reason


def acting(cond: dict, timestep: torch.Tensor, options: dict) -> tuple[bool, ...]:
    """Which of a cond's ControlNets and scheduled LoRAs act at `timestep`: where one begins or ends, nothing is alike.

    Args:
        options: the host's `transformer_options`.
    """
    found = []
    control = cond.get("control")
    while control is not None:
        span = getattr(control, "timestep_range", None)
        found.append(span is None or bool(span[1] <= timestep[0] <= span[0]))
        control = getattr(control, "previous_controlnet", None)
    for hook in getattr(cond.get("hooks"), "hooks", ()):
        keyframes = copy.copy(hook.hook_keyframe)  # the host's own moves on when it computes
        keyframes.prepare_current_keyframe(curr_t=timestep[0], transformer_options=options)
        found.append(bool(keyframes.strength))
    return tuple(found)


def _equal(tensor: torch.Tensor | Sequence, other: torch.Tensor | Sequence) -> bool:
    """Whether two inputs are the same, to the bit; those of several streams are lists."""
    if not torch.is_tensor(tensor):
        return isinstance(other, Sequence) and len(tensor) == len(other) and all(map(_equal, tensor, other))
    return (torch.is_tensor(other) and tensor.dtype == other.dtype and tensor.device == other.device
            and torch.equal(tensor, other))


class CallKeys:
    """Numbers the calls of an evaluation, so that every cond of every call has its own history."""

    def __init__(self, latents: Latents):
        self._latents = latents
        self._acting: Mapping = {}
        self._window: tuple[int, ...] = ()
        self._latent = 0
        self._calls: Counter = Counter()
        self._parts: Counter = Counter()

    @property
    def call(self) -> tuple:
        """The current batch's number, window and latent."""
        return self._calls[self._window] - 1, self._window, self._latent

    def begin_evaluation(self, caches: bool) -> None:
        """Count from 0 again; `caches`: whether this or a later evaluation is forecast."""
        self._calls.clear()
        self._latents.begin_evaluation(caches)

    def begin_batch(self, options: dict, acting: Mapping, x: torch.Tensor) -> None:
        """Begin the next call.

        Args:
            options: the host's `transformer_options`, with the context window (frames).
            acting: {uuid of a cond: see `acting`}.
            x: the sampler's latent.
        """
        self._acting = acting
        self._window = tuple(getattr(options.get("context_window"), "index_list", ()) or ())
        self._calls[self._window] += 1
        self._latent = self._latents.number(
            (self._calls[self._window], self._window, *acting), self._window, x)
        self._parts.clear()

    def end_batch(self, outs: Sequence[torch.Tensor]) -> None:
        """End the call with its predictions."""
        self._latents.answer(outs)

    def of_cond(self, conds: Sequence[dict]) -> tuple | None:
        """The key of a list of conds whose predictions the host combines; None if none is active."""
        return (self.call, tuple((cond["uuid"], self._acting[cond["uuid"]]) for cond in conds)) if conds else None

    def of_network(self, uuids: Sequence, shape: torch.Size) -> tuple:
        """The key of every cond in a call of the network with an input of this shape."""
        keys = []
        for uuid in uuids:
            key = (self.call, uuid, self._acting.get(uuid), tuple(shape[1:]), shape[0] // len(uuids))
            keys.append((*key, self._parts[key]))  # a cond can occur several times, for different areas
            self._parts[key] += 1
        return tuple(keys)


@dataclass(frozen=True)
class CondBatch:
    """The host's predictions for a list of conds.

    Attributes:
        executor: computes them: denoised, [batch, channels, ...] for every list of conds.
        conds: lists of conds; None in the place of a missing one.
        active: the conds that the host uses at this noise level, likewise.
        keys: of their histories; None where no cond is active.
    """

    executor: Callable
    model: Any
    conds: list
    x: torch.Tensor
    timestep: torch.Tensor
    options: dict
    active: list
    keys: list

    @classmethod
    def of(cls, keys: CallKeys, executor, model, conds, x, timestep, options) -> CondBatch:
        """The batch of a call of the host's calc_cond_batch."""
        active = [cond and [c for c in cond if is_active(c, timestep)] for cond in conds]
        host_options = options.get("transformer_options", {})
        keys.begin_batch(host_options, {
            c["uuid"]: acting(c, timestep, host_options) for cond in active if cond for c in cond}, x)
        return cls(executor, model, conds, x, timestep, options, active, [keys.of_cond(cond) for cond in active])

    @property
    def negative(self) -> tuple:
        """The key of the last active conds, which guidance leads away from; of the first where there are no others."""
        return next((key for key in reversed(self.keys) if key is not None), (None, ()))

    def negative_of(self, key: tuple) -> tuple | None:
        """The negative's key where the network is called as with `key`; None if it is several conds."""
        _, conds = self.negative
        return (key[0], *conds[0], *key[3:]) if len(conds) == 1 else None

    @property
    def obstacle(self) -> Reason | None:
        """Why blocks can't be skipped, as far as the conds and options show; else None."""
        if any("control" in cond for conds in self.conds if conds for cond in conds):
            return Reason("controlnet")
        return Reason("multigpu") if "multigpu_clones" in self.options else None

    def asks(self, x: torch.Tensor, uuids: Sequence) -> bool:
        """Whether the network's input `x` is what the host gives it for these conds, and not another node's tile."""
        parts = x.chunk(len(uuids)) if len(x) == len(uuids) * len(self.x) else ()
        return bool(parts) and all(
            any(_equal(part, self._input(cond)) for conds in self.active if conds
                for cond in conds if cond["uuid"] == uuid)
            for part, uuid in zip(parts, uuids))

    def _input(self, cond: dict) -> torch.Tensor:
        area = {"area": cond["area"]} if "area" in cond else {}
        return comfy.samplers.get_area_and_mult(
            {**area, "uuid": cond["uuid"], "model_conds": {}}, self.x, self.timestep).input_x

    def compute(self) -> list[torch.Tensor]:
        """The host's own predictions."""
        return self.executor(self.model, self.conds, self.x, self.timestep, self.options)

    def advance_hooks(self) -> None:
        """Advance schedules of LoRA strength, which count evaluations, as the host does when it computes."""
        for cond in (c for conds in self.active if conds for c in conds if c.get("hooks") is not None):
            self.model.current_patcher.prepare_hook_patches_current_keyframe(
                self.timestep, cond["hooks"], self.options)


class NetworkWatch:
    """Whether the network ran in this evaluation, or another node's wrapper returned in its place.

    Attributes:
        ran: the network was called, with all of its blocks.
        bypassed: the last call has not reached the network.
        replaces: the last call replaces the network's blocks.
    """

    def __init__(self):
        self.ran = False
        self.bypassed = False
        self.replaces = False
        self._given = None

    def enter(self, x: torch.Tensor) -> None:
        """The host gives other nodes' wrappers of the network the input `x`."""
        self.bypassed, self._given = True, x

    def reach(self, x: torch.Tensor) -> None:
        """They give the network the input `x`.

        Raises:
            NoForecast: it is another, so features of the blocks are of something else.
        """
        given, self.bypassed, self._given = self._given, False, None
        if self.replaces and x is not given and not _equal(x, given):
            raise NoForecast(Reason("other_input"))


@dataclass(frozen=True)
class NetworkCall:
    """One call of the network for a batch of conds.

    Attributes:
        args: positional, without the host's `transformer_options`, which come last.
        options: the host's `transformer_options`.
        keys: of the conds' histories.
        negatives: the negative cond's for each of them (see CondBatch.negative_of).
    """

    executor: Any
    args: tuple
    options: dict
    kwargs: dict
    keys: tuple
    negatives: tuple
    watch: NetworkWatch

    @property
    def model(self):
        """The host's model."""
        return self.executor.class_obj

    @property
    def other_patches(self) -> dict:
        """Other nodes' replacements of blocks."""
        return self.options.get("patches_replace", {}).get("dit", {})

    def run(self, blocks: BlockMapping | None = None) -> torch.Tensor:
        """The network's output.

        Args:
            blocks: replacements of its transformer blocks.

        Raises:
            NoForecast: `blocks` were given, and other nodes give the network another input.
        """
        options = self.options
        if blocks is not None:
            options = options | {"patches_replace": options.get("patches_replace", {}) | {"dit": blocks}}
        self.watch.bypassed, self.watch.replaces = False, blocks is not None
        out = self.executor(*self.args, options, **self.kwargs)
        self.watch.ran |= not (self.watch.bypassed or (blocks is not None and blocks.skips))
        return out
