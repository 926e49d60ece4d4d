"""One sampling run: decides whether an evaluation is computed or forecast, does it, and records its features."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace

import comfy.model_management
import torch

from . import mechanisms
from .block_cache import BlockCache, Receiver
from .clock import Clock
from .evaluations import Evaluations
from .feature_kind import feature_kind
from .guidance import Guidance
from .history import NO_HISTORY, Features, Histories, NoForecast
from .host_calls import CallKeys, CondBatch, NetworkCall, NetworkWatch
from .latents import Latents
from .memory import is_out_of_memory
from .output_cache import OutputCache
from .planner import Planner
from .reasons import Reason
from .report import Report, fingerprint
from .settings import CacheConfig

log = logging.getLogger(__name__)
CPU = torch.device("cpu")


class Run:
    """The state of one sampling run.

    Args:
        evaluations: that the sampler will make.
        device: where the model runs.
        shapes: of the latent's parts, such as video and sound, [batch, channels, ...]; five dimensions for video.
        obstacle: why blocks can't be the cache point, as far as it is known before the run; else None.
        cfg: scale of the guidance; None if unknown.

    Attributes:
        planner: decides what is computed.
        sampling: whether an evaluation is in progress, at the noise level `sigma`.
        prefix_hit: whether the current evaluation, or a part of it, came from a PrefixCache.
        batch: the current call for conds, or the last one of this evaluation; None before the first.
        forecasts: calls of this evaluation that were forecast.
    """

    def __init__(self, config: CacheConfig, evaluations: Evaluations, device: torch.device,
                 shapes: Sequence[torch.Size], obstacle: Reason | None = None, cfg: float | None = None):
        self.config = config
        self.evaluations = evaluations
        self.positions = evaluations.positions
        self.report = Report(config.mechanism, config.order if mechanisms.has_order(config.mechanism) else None)
        mechanism = mechanisms.make(config.mechanism, config.order, gamma_max=2.0 if len(shapes[0]) == 5 else 1.5,
                                    levels=evaluations.levels, gram=evaluations.gram_of_positions(config.gram))
        self.planner = Planner(config, evaluations, mechanism, len(shapes), obstacle, self.report)
        guidance = Guidance(cfg, len(set(self.positions)))
        self.histories = Histories(mechanism, CPU if config.cache_device == "cpu" else None, guidance)
        self.output = OutputCache(self.histories, feature_kind(evaluations, mechanism))
        self.blocks = BlockCache(self.histories, mechanism)
        self.clock = Clock(device)
        self.keys = CallKeys(Latents(self.planner.caches_later and not evaluations.stochastic))
        self.watch = NetworkWatch()
        self.sampling, self.sigma, self.prefix_hit = False, 0.0, False
        self.batch: CondBatch | None = None
        self.forecasts = 0

    @property
    def index(self) -> int:
        """Index of the current evaluation; -1 before the first."""
        return self.planner.index

    def position(self) -> int:
        """Position of this evaluation (see Evaluations.positions)."""
        return self.positions[self.index]

    def evaluate(self, sigma: float, denoise: Callable[[], torch.Tensor]) -> torch.Tensor:
        """One call of the denoiser by the sampler; where memory runs out in it, once more without a cache."""
        self.planner.begin_evaluation(sigma)
        self.sigma, self.histories.index = sigma, self.index
        if self.planner.disabled is not None:
            self.histories.clear()
        with self.clock.span():
            out = self._attempt(denoise)
            if out is None:
                out = self._attempt(denoise)
        self._report_evaluation()
        self.histories.drop_unasked()
        if not self.planner.caches_later:
            self.histories.clear()
        return out

    def _attempt(self, denoise: Callable[[], torch.Tensor]) -> torch.Tensor | None:
        """What `denoise` returns; None where memory runs out that a cache may have taken, which is then free again."""
        self.keys.begin_evaluation(self.planner.may_hold)
        self.sampling, self.prefix_hit, self.watch.ran, self.forecasts = True, False, False, 0
        try:
            return denoise()
        except Exception as error:
            if not (self.planner.may_hold and is_out_of_memory(error)):
                raise
            self._disable(Reason("out_of_memory_caching"))
        finally:
            self.sampling, self.batch = False, None
        return None

    # ---- compute or forecast

    def calc_cond_batch(self, executor, model, conds, x_in, timestep, model_options):
        """The host's predictions for a list of conds (denoised, each [batch, channels, ...]), computed or forecast."""
        if not self.sampling:
            return executor(model, conds, x_in, timestep, model_options)
        first = self.batch is None
        self.batch = batch = CondBatch.of(self.keys, executor, model, conds, x_in, timestep, model_options)
        if first:
            self.planner.ask(tuple(batch.keys))
        if self.planner.probing and batch.obstacle is not None:
            self.planner.use_output(batch.obstacle)
        if self.planner.plan.cache_point == "output" and not self.planner.computes:
            outs = self._try(lambda: self.output.forecast(batch, self.position(), self.sigma))
            if outs is not None:
                batch.advance_hooks()
                self.keys.end_batch(outs)
                return outs
        outs = self.compute(batch)
        self.keys.end_batch(outs)
        if self.watch.ran or self.prefix_hit:
            self._record_outputs(batch, outs)
        return outs

    def apply_model(self, executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
        """One call of the network for a batch of conds, with its blocks computed or skipped."""
        blocks = self.sampling and self.planner.may_hold and self.planner.plan.cache_point == "blocks"
        if blocks and not (self.batch and self.batch.asks(x, transformer_options.get("uuids", ()))):
            blocks = False
            self.planner.refuse_blocks(Reason("other_input"))
        keys = self.keys.of_network(transformer_options["uuids"], x.shape) if blocks else ()
        call = NetworkCall(executor, (x, t, c_concat, c_crossattn, control), transformer_options, kwargs, keys,
                           tuple(map(self.batch.negative_of, keys)) if blocks else (), self.watch)
        if not blocks:
            return call.run()
        if not self.planner.computes:
            out = self._try(lambda: self.blocks.forecast(call, self.position()))
            if out is not None:
                return out
        if self.planner.probing and self.planner.obstacle is None:
            return self._probe(call)
        return self.blocks.compute(call, self.receivers())

    def _probe(self, call: NetworkCall) -> torch.Tensor:
        probed = self.blocks.probe(call)
        if probed.refusal is None:
            self.planner.use_blocks(probed.cached_cost)
        else:
            self.planner.obstacle = probed.refusal
        if self.planner.plan.cache_point == "blocks":
            for receive in self.receivers():
                for features in probed.features:
                    receive(features)
        return probed.out

    def compute(self, batch: CondBatch) -> list[torch.Tensor]:
        """The predictions of the network; the cache point is settled once it has run."""
        outs = batch.compute()
        if self.watch.ran and self.planner.probing:
            self.planner.use_output(self.planner.obstacle or Reason("no_blocks"))
        return outs

    def _try(self, forecast):
        """What `forecast` returns; None if it can't forecast, so that the evaluation is computed."""
        try:
            out = forecast()
            self.forecasts += 1
            return out
        except NoForecast as error:
            whole = error.reason == NO_HISTORY and not self.forecasts
            if not (whole and self.planner.claim()):
                self.planner.force(error.reason)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._disable(Reason("out_of_memory_forecasting"))
        return None

    # ---- record

    def receivers(self) -> list[Receiver]:
        """Functions that get the features of a computed evaluation at `blocks`."""
        return [self.store] if self.planner.stores else []

    def store(self, features: Features) -> None:
        """Store a computed evaluation's features for forecasts."""
        if self.planner.disabled is None:
            with self._disabling():
                self.histories.record(features, self.position())

    def _record_outputs(self, batch: CondBatch, outs: list[torch.Tensor]) -> None:
        with self._disabling():
            if self.planner.caches_later and not all(bool(torch.isfinite(out).all()) for out in outs):
                self._disable(Reason("not_finite", {"index": self.index}))
            if self.planner.plan.cache_point == "output" and self.planner.stores:
                for features in self.output.features(batch, outs, self.sigma):
                    self.store(features)

    @contextmanager
    def _disabling(self):
        """Disable caching if memory runs out in the ``with`` block."""
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._disable(Reason("out_of_memory_caching"))

    def _disable(self, reason: Reason) -> None:
        self.planner.disable(reason)
        self.histories.clear()

    def _report_evaluation(self) -> None:
        computed = self.watch.ran or self.prefix_hit
        self.config.notify_evaluated(self.index, computed, self.planner.followed)
        if computed:
            self.planner.turns.compute(self.index)
            self.report.add_computed(self.index, not self.watch.ran, self.planner.unplanned)
        elif self.planner.computes:
            self.report.note(Reason("another_node_skipped"))

    def _fingerprint(self, samples: torch.Tensor | None) -> bytes:
        """Of the latent; b"" where none can be taken, which must not end a run that is done."""
        try:
            return fingerprint(samples)
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception as error:  # noqa: BLE001  samplers of other packs may return anything
            log.warning("ReCache: the report can't be told from others by its latent: %s", error)
            return b""

    def close(self, samples: torch.Tensor | None) -> Report:
        """End the run with its latent, None if it was cut short. Frees everything but the report."""
        self.histories.clear()
        if samples is not None and self.planner.disabled is None and self.index + 1 < len(self.evaluations):
            self.report.note(Reason("another_node_skipped"))
        return replace(
            self.report, **self.planner.plan.as_report(self.index + 1), finished=samples is not None,
            samples=self._fingerprint(samples),
            evaluations=self.index + 1, times=self.evaluations.times, seconds=self.clock.seconds(),
            peak_cache_bytes=self.histories.peak_bytes)
