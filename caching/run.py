"""One sampling run: decides whether an evaluation is computed or forecast, does it, and records what it leaves."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace

import torch

from . import mechanisms
from .block_cache import NO_BLOCKS, BlockCache, Receiver, probe_blocks
from .block_mapping import Stack
from .clock import Clock
from .dry_run import Evaluations
from .feature_kind import feature_kind
from .history import Features, Histories, NoForecast
from .host_calls import CallKeys, CondBatch, NetworkCall, NetworkWatch
from .memory import OutOfMemory, own_work
from .output_cache import OutputCache
from .plan import Phase, Plan, blocks_plan, first_plan, output_plan
from .reasons import Reason
from .report import Report, fingerprint
from .settings import CacheConfig

log = logging.getLogger(__name__)


class Run:
    """The state of one sampling run.

    Args:
        evaluations: what the sampler will call for.
        device: where the model runs.
        dims: dimensions of the latent; five is video.
        obstacle: why blocks can't be the cache point, as far as it is known before the run; None if nothing is.

    Attributes:
        plan: what is computed; provisional while the model's blocks are probed.
        disabled: why nothing is cached any more, or None while the plan holds.
        index: of the current evaluation; -1 before the first.
        forced: why the current evaluation is computed against the plan, or None.
        prefix_hit: the current evaluation, or a part of it, came from a PrefixCache.
    """

    def __init__(self, config: CacheConfig, evaluations: Evaluations, device: torch.device, dims: int,
                 obstacle: Reason | None = None):
        self.config = config
        self.evaluations = evaluations
        self.positions = evaluations.positions
        self.obstacle = obstacle
        self.mechanism = mechanisms.make(config.mechanism, config.order, gamma_max=2.0 if dims == 5 else 1.5,
                                         levels=evaluations.levels)
        self.histories = Histories(self.mechanism, torch.device("cpu") if config.cache_device == "cpu" else None)
        self.output = OutputCache(self.histories, feature_kind(evaluations, self.mechanism))
        self.blocks = BlockCache(self.histories, self.mechanism, NO_BLOCKS, None)
        self.clock = Clock(device)
        self.keys, self.watch = CallKeys(), NetworkWatch()
        self.disabled: Reason | None = None
        self.index, self.sigma, self.sampling = -1, 0.0, False
        self.forced: Reason | None = None
        self.prefix_hit = False
        self.report = Report(config.mechanism, config.order if config.mechanism in ("taylor", "hermite") else None)
        self.plan = Plan(Phase.PROBING, "blocks")
        self.follow(first_plan(config.schedule, self.mechanism, evaluations, config.cache_point, obstacle,
                               Reason("output_preferred", {"mechanism": config.mechanism})))

    # ---- decide

    def follow(self, plan: Plan) -> None:
        """Make this the plan."""
        self.plan = plan
        if plan.phase is Phase.UNCACHED:
            self.disable(plan.reason)
        elif plan.settled:
            self.report.cache_point, self.report.cache_point_reason = plan.cache_point, plan.reason
            self.report.cached_cost = plan.cached_cost

    def use_output(self, reason: Reason) -> None:
        """Make the model's output the cache point."""
        self.follow(output_plan(self.config.schedule, self.mechanism, self.evaluations, reason))

    def use_blocks(self, stack: Stack, network, cached_cost: float) -> None:
        """Make the network's blocks the cache point, unless the schedule can't be kept there."""
        reason = Reason("chosen_on_node" if self.config.cache_point == "blocks" else "blocks_possible")
        self.blocks = BlockCache(self.histories, self.mechanism, stack, network)
        self.follow(blocks_plan(self.config.schedule, self.mechanism, self.evaluations, cached_cost, reason))

    def disable(self, reason: Reason) -> None:
        """Compute everything from here on, and report why."""
        if self.disabled is None:
            log.warning("ReCache: %s", reason)
            self.disabled = reason
            self.report.note(reason)
        self.histories.clear()

    @property
    def probing(self) -> bool:
        """Whether the cache point is still open."""
        return self.plan.phase is Phase.PROBING and self.disabled is None

    @property
    def computes(self) -> bool:
        """Whether this evaluation is to run the network."""
        return self.plan.computes(self.index) or self.disabled is not None

    @property
    def stores(self) -> bool:
        """Whether the features of this evaluation, if computed, are of use to a forecast."""
        if self.disabled is not None:
            return False
        return self.plan.stores(self.index) or (self.forced is not None and self.index < self.plan.last_cached)

    def position(self) -> int:
        """Where forecasts place this evaluation (see Evaluations.positions)."""
        return self.positions[self.index]

    @contextmanager
    def evaluation(self, sigma: float):
        """One call of the denoiser by the sampler."""
        self.index += 1
        if self.disabled is None and not self.evaluations.expects(self.index, sigma):
            self.disable(Reason("left_plan", {"index": self.index}))
        self.sigma, self.sampling, self.forced, self.prefix_hit, self.watch.ran = sigma, True, None, False, False
        self.keys.begin_evaluation()
        try:
            with self.clock.span():
                yield
        finally:
            self.sampling = False
        self._report_evaluation()
        if not self.plan.caches_from(self.index + 1):
            self.histories.clear()
        elif self.plan.computes(self.index) and self.stores:
            self.histories.drop_all_but(self.position())

    # ---- compute or forecast

    def calc_cond_batch(self, executor, model, conds, x_in, timestep, model_options):
        """The host's predictions for a list of conds (denoised, each [batch, channels, ...]), computed or forecast."""
        if not self.sampling:
            return executor(model, conds, x_in, timestep, model_options)
        batch = CondBatch.of(self.keys, executor, model, conds, x_in, timestep, model_options)
        if self.probing and batch.obstacle is not None:
            self.use_output(batch.obstacle)
        if self.plan.cache_point == "output" and not self.computes:
            outs = self._try(lambda: self.output.forecast(batch, self.position(), self.sigma))
            if outs is not None:
                batch.advance_hooks()
                return outs
        outs = self.compute(batch)
        if self.watch.ran or self.prefix_hit:
            self._record_outputs(batch, outs)
        return outs

    def apply_model(self, executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
        """One call of the network for a batch of conds, with its blocks computed or skipped."""
        blocks = self.sampling and self.plan.cache_point == "blocks"
        keys = self.keys.of_network(transformer_options["uuids"], x.shape) if blocks else ()
        call = NetworkCall(executor, (x, t, c_concat, c_crossattn, control), transformer_options, kwargs, keys,
                           self.watch)
        if not blocks:
            return call.run()
        if not self.computes:
            out = self._try(lambda: self.blocks.forecast(call, self.position()))
            if out is not None:
                return out
        with self._disabling():
            if self.probing and self.obstacle is None:
                return self._probe(call)
            return self.blocks.compute(call, self.receivers())
        return call.run()

    def compute(self, batch: CondBatch) -> list[torch.Tensor]:
        """The predictions of the network; the cache point is settled once it has run."""
        outs = batch.compute()
        if self.watch.ran and self.probing:
            self.use_output(self.obstacle or Reason("no_blocks"))
        return outs

    def receivers(self) -> list[Receiver]:
        """What takes the features of a computed evaluation at `blocks`."""
        return [self.store] if self.stores else []

    @contextmanager
    def _disabling(self):
        """Where memory runs out inside for ReCache's own work, compute without it."""
        try:
            yield
        except OutOfMemory:
            self.disable(Reason("out_of_memory_caching"))

    def _try(self, forecast):
        """What `forecast` returns; None, and the evaluation is computed, where it can't be made."""
        try:
            return forecast()
        except NoForecast as error:
            self.forced = self.forced or error.reason
        except OutOfMemory:
            self.disable(Reason("out_of_memory_forecasting"))
        return None

    def _probe(self, call: NetworkCall) -> torch.Tensor:
        probed = probe_blocks(call, self.mechanism)
        self.obstacle = probed.refusal
        if self.obstacle is None:
            self.use_blocks(probed.stack, call.model, probed.cached_cost)
            if self.plan.cache_point == "blocks":
                for receive in self.receivers():
                    for features in probed.features:
                        receive(features)
        return probed.out

    # ---- record

    def _record_outputs(self, batch: CondBatch, outs: list[torch.Tensor]) -> None:
        with self._disabling(), own_work():
            if self.index < self.plan.last_cached and not all(bool(torch.isfinite(out).all()) for out in outs):
                self.disable(Reason("not_finite", {"index": self.index}))
            if self.plan.cache_point == "output" and self.stores:
                for features in self.output.features(batch, outs, self.sigma):
                    self.store(features)

    def store(self, features: Features) -> None:
        """Store a computed evaluation's features for forecasts."""
        if self.disabled is None:
            with self._disabling(), own_work():
                self.histories.record(features, self.position())

    def _report_evaluation(self) -> None:
        computed = self.watch.ran or self.prefix_hit
        try:
            self.config.evaluated(self.index, computed, self.plan.schedule
                                  if self.plan.settled and self.disabled is None else None)
        except Exception:
            log.exception("ReCache: the progress of a run could not be shown.")
        if computed:
            unplanned = None if self.plan.computes(self.index) else (
                self.forced or self.disabled or Reason("another_node_asked"))
            self.report.add_computed(self.index, not self.watch.ran, unplanned)
        elif self.computes:
            self.report.note(Reason("another_node_skipped"))

    def close(self, samples: torch.Tensor | None) -> Report:
        """End the run with what it made, None if it was cut short; nothing of it stays alive but the report."""
        self.histories.clear()
        return replace(
            self.report, finished=samples is not None, samples=fingerprint(samples), evaluations=self.index + 1,
            times=self.evaluations.times, seconds=self.clock.seconds(), peak_cache_bytes=self.histories.peak_bytes,
            planned=[i for i, computed in enumerate(self.plan.schedule) if computed])
