"""A run that shares its computed evaluations with other runs through a PrefixCache."""

from __future__ import annotations

import torch

from .block_cache import Receiver
from .history import Features
from .host_calls import CondBatch
from .prefix_cache import CacheEntry, PrefixCache, cache_key, cpu_copy
from .run import Run


class PrefixRun(Run):
    """A Run that looks every evaluation up in the cache before it computes it, and stores it afterwards."""

    def __init__(self, cache: PrefixCache, *args):
        self.cache = cache
        self.recording = False
        self.features: list[Features] = []
        super().__init__(*args)

    @property
    def _shares(self) -> bool:
        """Whether this evaluation may be in the cache, or useful to another run."""
        plan = self.planner.plan
        return self.planner.disabled is None and plan.computes(self.index) and plan.caches_from(0)

    def compute(self, batch: CondBatch) -> list[torch.Tensor]:
        if not self._shares:
            return super().compute(batch)
        key = cache_key(batch.x, batch.timestep, (self.keys.call, *batch.keys))
        entry = self.cache.get(key)
        if entry is not None:
            return self._restore(entry, batch)
        self.recording = True
        try:
            outs = super().compute(batch)
            if self.watch.ran and self.planner.disabled is None:
                self.cache.put(key, CacheEntry(
                    [cpu_copy(out) for out in outs], self.planner.plan, self.blocks.stack, self.features))
            return outs
        finally:
            self.recording, self.features = False, []

    def receivers(self) -> list[Receiver]:
        return [*super().receivers(), *([self._record] if self.recording else [])]

    def _record(self, features: Features) -> None:
        feature = features.feature if features.base is None else features.feature - features.base
        probe = None if features.probe is None else cpu_copy(features.probe)
        self.features.append(Features(features.key, cpu_copy(feature), None, probe))

    def _restore(self, entry: CacheEntry, batch: CondBatch) -> list[torch.Tensor]:
        """An entry's predictions, with its features in the histories."""
        device = batch.x.device
        self.prefix_hit = True
        if self.planner.probing:
            self._restore_cache_point(entry, batch.model)
        if self.planner.plan.cache_point == "blocks" and self.planner.stores:
            for f in entry.features:
                self.store(Features(f.key, f.feature.to(device), None, None if f.probe is None else f.probe.to(device)))
        batch.advance_hooks()
        return [out.to(device, copy=True) for out in entry.outs]

    def _restore_cache_point(self, entry: CacheEntry, network) -> None:
        if entry.plan.cache_point == "blocks":
            self.blocks.use(entry.stack, network)
            self.planner.use_blocks(entry.plan.cached_cost)
        else:
            self.planner.use_output(entry.plan.reason)
