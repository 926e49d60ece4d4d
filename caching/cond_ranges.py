"""What conds and context windows are known to do over a run, before it starts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import comfy.samplers
import torch

from .evaluations import Beginnings
from .history import KEPT


def is_active(cond: dict, timestep: Sequence[float] | torch.Tensor) -> bool:
    """Whether the host uses this cond at `timestep` (noise levels, one a sample)."""
    return not (("timestep_start" in cond and timestep[0] > cond["timestep_start"])
                or ("timestep_end" in cond and timestep[0] < cond["timestep_end"]))


def beginnings(guider, sigmas: Sequence[float]) -> Beginnings:
    """Where conds begin in a run.

    Args:
        guider: the host's guider; its conds have percentages of the run.
        sigmas: noise level of every evaluation.
    """
    sampling = guider.model_patcher.get_model_object("model_sampling")
    lists = [list(conds) for conds in getattr(guider, "conds", {}).values() if conds]
    for conds in lists:
        comfy.samplers.calculate_start_end_timesteps(SimpleNamespace(model_sampling=sampling), conds)

    def active(sigma: float) -> list[tuple]:
        return [tuple((place, number, *_acting(cond, sigma, sampling)) for number, cond in enumerate(conds)
                      if is_active(cond, [sigma])) for place, conds in enumerate(lists)]

    sets = [{each for each in active(sigma) if each} for sigma in sigmas]
    return Beginnings(_new([{one for each in now for one in each} for now in sets]), _new(sets))


def _new(of_evaluations: Sequence[set]) -> frozenset[int]:
    """Evaluations, but for the first, with something that none had of which a history is kept still."""
    new, last = set(), {}
    for i, now in enumerate(of_evaluations):
        if any(each not in last or i - last[each] > KEPT for each in now):
            new.add(i)
        last |= dict.fromkeys(now, i)
    return frozenset(new - {0})


def _acting(cond: dict, sigma: float, sampling) -> Iterator[bool]:
    control = cond.get("control")
    while control is not None:
        start, end = map(sampling.percent_to_sigma, getattr(control, "timestep_percent_range", (0.0, 1.0)))
        yield end <= sigma <= start
        control = getattr(control, "previous_controlnet", None)


def windows_move(handler, shape: Sequence[int], sigmas: torch.Tensor) -> bool:
    """Whether the host's handler of context windows (None without) takes other windows of frames at another step.

    Args:
        shape: of the latent, or of its part with the frames.
        sigmas: of the sampler.
    """
    try:
        if handler is None or shape[handler.dim] <= handler.context_length:
            return False
        handler, found = copy.copy(handler), []  # it remembers the step
        options = {"transformer_options": {"sample_sigmas": sigmas}}
        for sigma in sigmas[:-1]:
            handler.set_step(sigma.reshape(1), options)
            windows = handler.get_context_windows(None, torch.empty(tuple(shape), device="meta"), options)
            found.append([list(window.index_list) for window in windows])
    except Exception:  # noqa: BLE001  another pack's handler may raise anything
        return False
    return any(windows != found[0] for windows in found)
