"""What a network offers to ``patches_replace["dit"]``: which blocks, with which arguments, in which token layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

BlockKey = tuple[str, int]


@dataclass
class Block:
    """One replaceable block, as its replacement sees it on the first evaluation.

    Attributes:
        key: like ``("double_block", 0)``.
        arguments: names of what the block is given.
        results: names of what it returns.
        streams: token shapes by name (``img``, ``txt``) of what it is given.
        added: something was added to its ``img`` after it, before the next block or the output layer.
        reused: the tensor it returned as ``img`` was later written to in place.
    """

    key: BlockKey
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    streams: dict[str, tuple[int, ...]]
    added: bool = False
    reused: bool = False


@dataclass
class Probe:
    """What one evaluation showed.

    Attributes:
        blocks: the replaceable blocks in the order of their calls; empty: only the output can be cached.
        joined: where the text and image streams become one: ``"txt, img"`` or ``"img, txt"``, else None.
        diffusion_model_wrapper: the network calls the host's DIFFUSION_MODEL wrappers (APPLY_MODEL always run).
    """

    blocks: list[Block] = field(default_factory=list)
    joined: str | None = None
    diffusion_model_wrapper: bool = False


class _Recorder(dict):
    """A mapping that has every block key and replaces each block by itself, watched."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.probe = probe
        self.last: dict[str, torch.Tensor] = {}  # copies of what the last block returned
        self.returned: list[tuple[Block, torch.Tensor, int]] = []

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: BlockKey) -> Callable[[dict, dict], dict]:
        def watch(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, torch.Tensor]:
            streams = {name: tuple(args[name].shape) for name in ("img", "txt") if torch.is_tensor(args.get(name))}
            block = Block(key, tuple(args), (), streams)
            if not torch.is_tensor(args["img"]):  # of several streams, only the number is told
                self.probe.blocks.append(block)
                return extra["original_block"](args)
            self._compare(args["img"])
            out = extra["original_block"](args)
            block.results = tuple(out)
            self.probe.blocks.append(block)
            self.returned.append((block, out["img"], out["img"]._version))
            self.last = {name: value.clone() for name, value in out.items() if torch.is_tensor(value)}
            return out

        return watch

    def _compare(self, img: torch.Tensor) -> None:
        """Compares what the last block returned with what the next one is given."""
        if not self.last:
            return
        before, txt = self.last["img"], self.last.get("txt")
        if img.shape != before.shape and txt is not None:
            for order, parts in (
                ("txt, img", (txt, before)),
                ("img, txt", (before, txt)),
            ):
                joined = torch.cat(parts, dim=1)
                if img.shape == joined.shape and torch.equal(img, joined):
                    self.probe.joined = order
        else:
            self.probe.blocks[-1].added = not torch.equal(img, before)

    def finish(self) -> None:
        """Looks for in-place writes once the evaluation is over."""
        for block, img, version in self.returned:
            block.reused = img._version != version


def probe(model: Any, run: Callable[[Any], Any]) -> Probe:
    """Watches the first evaluation of a run.

    Args:
        model: a MODEL; a clone is watched.
        run: samples with the model that it is given.
    """
    from comfy.patcher_extension import WrappersMP

    found = Probe()
    done = False

    def apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, **conds):
        nonlocal done
        if done:
            return executor(x, t, c_concat, c_crossattn, control, transformer_options, **conds)
        done = True
        recorder = _Recorder(found)
        options = {**transformer_options, "patches_replace": {"dit": recorder}}
        out = executor(x, t, c_concat, c_crossattn, control, options, **conds)
        recorder.finish()
        return out

    def diffusion_model(executor, *args, **kwargs):
        found.diffusion_model_wrapper = True
        return executor(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "probe", apply_model)
    watched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "probe", diffusion_model)
    run(watched)
    return found
