"""One sampling run: which evaluation this is, whether it is computed or forecast, and everything it remembers."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from uuid import uuid4

import torch
from torch._dynamo import OptimizedModule

from . import mechanisms
from .block_cache import BlockProbe, Recorder, Skipper, Stack
from .dry_run import Evaluations
from .flops import FlopMeter
from .history import History
from .prefix_cache import CacheEntry, PrefixCache, cache_key, kept
from .report import Report, fingerprint

log = logging.getLogger(__name__)

CACHE_POINTS = ("auto", "blocks", "output")


@dataclass(frozen=True)
class CacheConfig:
    """How a model is to be cached; what the MODEL that ComfyUI keeps carries. Holds no state of any run.

    Attributes:
        schedule: (evaluation times, cost of a cached evaluation) -> one bool per evaluation, True where computed;
            a ValueError's sentence is reported, and the run is left uncached.
        mechanism: one of `mechanisms.NAMES`.
        order: 1 to 3, of taylor and hermite.
        cache_point: "blocks", "output" or "auto".
        cache_device: "auto" keeps features where they arise, "cpu" in main memory.
        evaluated: called after every evaluation with its number, whether it was computed, and the schedule as far as
            it is settled (else None); what it raises is logged.
        published: called with the report after every run; what it raises is logged.
        answers: where runs keep what the network answered, and look first; for runs whose network is a function of
            its input, and with these settings only.
        remarks: (guider, sampler, noise, evaluation times) -> sentences for the report, asked as a run begins.
        identity: tells these settings from all others.

    Raises:
        ValueError: an unknown mechanism or cache point, or an order outside 1..3.
    """

    schedule: Callable[[Sequence[float], float], tuple[bool, ...]]
    mechanism: str = "taylor"
    order: int = 1
    cache_point: str = "auto"
    cache_device: str = "auto"
    evaluated: Callable[[int, bool, Sequence[bool] | None], None] = field(default=lambda *evaluation: None)
    published: Callable[[Report], None] = field(default=lambda report: None)
    prefix_cache: PrefixCache | None = None
    remarks: Callable[..., Sequence[str]] = field(default=lambda guider, sampler, noise, times: ())
    identity: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        mechanisms.make(self.mechanism, self.order)
        if self.cache_point not in CACHE_POINTS:
            raise ValueError(f"There is no cache point '{self.cache_point}'; choose one of {', '.join(CACHE_POINTS)}.")


def is_compiled(module) -> bool:
    """Whether torch.compile made this module."""
    return isinstance(module, OptimizedModule)


def is_active(cond: dict, timestep: torch.Tensor) -> bool:
    """Whether the host uses this cond at `timestep` (noise levels, one a sample)."""
    return not (("timestep_start" in cond and timestep[0] > cond["timestep_start"])
                or ("timestep_end" in cond and timestep[0] < cond["timestep_end"]))


def _count_hooks(conds, model, timestep: torch.Tensor, model_options: dict) -> None:
    """What the host does for conds with hooks: schedules of LoRA strength count evaluations."""
    for cond in (c for conds_of_kind in conds if conds_of_kind for c in conds_of_kind if c.get("hooks") is not None):
        model.current_patcher.prepare_hook_patches_current_keyframe(timestep, cond["hooks"], model_options)


class ForecastFailed(Exception):
    """Memory ran out while forecasting; the evaluation is computed instead."""


class Clock:
    """Seconds of evaluations on the device: with events on CUDA, so that nothing has to wait."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self.spans: list[tuple] = []

    def _now(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def span(self):
        start = self._now()
        yield
        self.spans.append((start, self._now()))

    def seconds(self) -> list[float]:
        """Of all spans; waits for the device."""
        if not self.cuda:
            return [end - start for start, end in self.spans]
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000.0 for start, end in self.spans]


class Run:
    """The state of one sampling run.

    Args:
        settings: as the node made them.
        evaluations: what the sampler will ask for.
        device: where the model runs.
        dims: dimensions of the latent; five is video.
        block_refusal: why the blocks can't be the cache point of this run, as far as it is known before it starts.
    """

    def __init__(self, settings: CacheConfig, evaluations: Evaluations, device: torch.device, dims: int,
                 block_refusal: str = ""):
        self.settings = settings
        self.evaluations = evaluations
        self.mechanism = mechanisms.make(settings.mechanism, settings.order, gamma_max=2.0 if dims == 5 else 1.5)
        self.cache_device = torch.device("cpu") if settings.cache_device == "cpu" else None
        self.clock = Clock(device)
        self.cache_point = "blocks"
        self.block_refusal = block_refusal
        self.stack: Stack | None = None
        self.schedule: tuple[bool, ...] | None = None
        self.useful: set[int] = set()
        self.last_cached = -1
        self.given_up = ""
        self.histories: dict[tuple, History] = {}
        self.index = -1
        self.sigma = 0.0
        self.open = False
        self.call: tuple = ()
        self.calls: Counter = Counter()
        self.seen: Counter = Counter()
        self.network = None
        self.network_ran = self.recalled = False
        self.found: dict[tuple, tuple] | None = None
        self.bypassed = False
        self.forced = ""
        self.report = Report(
            settings.mechanism, settings.order if settings.mechanism in ("taylor", "hermite") else None, "none", "")
        self._prepare()

    # ---- the plan

    def _prepare(self) -> None:
        if self.evaluations.refusal:
            self.disable(self.evaluations.refusal)
            return
        times = self.evaluations.times
        if not times:
            self.schedule = ()
            return
        self.positions = self.evaluations.positions
        try:
            free = self.settings.schedule(times, 0.0)
        except ValueError as error:
            self.disable(f"{error} This run was left uncached.")
            return
        if all(free):
            self.report.cache_point_reason = "the budget computes every evaluation"
            self.settle(0.0)
        elif self.settings.cache_point == "output":
            self.use_output("chosen on the node")
        elif self.block_refusal:
            self.use_output(self.block_refusal)
        elif self.settings.cache_point == "auto" and not self.mechanism.of_residual:
            self.use_output(f"{self.settings.mechanism} is as good there as at blocks, faster, and takes less memory")

    @property
    def of_direction(self) -> bool:
        """At the output, the feature is the direction (see Evaluations.directed), but for residuals."""
        return self.evaluations.directed and not self.mechanism.of_residual

    @property
    def settled(self) -> bool:
        """Nothing about the plan is open any more."""
        return self.schedule is not None or bool(self.given_up)

    def settle(self, cached_cost: float) -> None:
        """Fix the schedule, now that the cost of a cached evaluation is known."""
        self.schedule = tuple(self.settings.schedule(self.evaluations.times, cached_cost))
        self.report.cached_cost = cached_cost
        for i, computed in enumerate(self.schedule):
            if not computed:
                self.last_cached = i
                self.useful.update(self._feeding(i))

    def _feeding(self, cached: int) -> Iterator[int]:
        """The computed evaluations that the history holds at a cached one."""
        positions = set()
        for i in range(cached - 1, -1, -1):
            if self.schedule[i] and self.positions[i] not in positions:
                positions.add(self.positions[i])
                yield i
                if len(positions) == self.mechanism.depth:
                    return

    def use_output(self, reason: str) -> None:
        """Make the model's output the cache point."""
        if self.mechanism.probes:
            self.disable(f"DiCache works on the model's blocks, which can't be used here ({reason}); "
                         "choose another mechanism. This run was left uncached.")
            return
        self.cache_point = "output"
        self.report.cache_point, self.report.cache_point_reason = "output", reason
        self.settle(0.0)

    def use_blocks(self, stack: Stack) -> None:
        """Make the blocks the cache point."""
        cost = stack.cached_cost + (stack.probe_cost if self.mechanism.probes else 0.0)
        try:
            self.settle(round(cost, 2))  # whole percents, the resolution of the budget
        except ValueError as error:
            self.use_output(str(error))
            return
        self.stack = stack
        self.report.cache_point, self.report.cache_point_reason = "blocks", (
            "chosen on the node" if self.settings.cache_point == "blocks" else "the model and this run allow it")

    def disable(self, reason: str) -> None:
        """Compute everything from here on, and say why."""
        if not self.given_up:
            log.warning("ReCache: %s", reason)
            self.given_up = reason
            self.report.notes.append(reason)
        self.forget()

    def position(self) -> int:
        """Where this evaluation lies (see Evaluations.positions)."""
        return self.positions[self.index]

    # ---- one evaluation

    @property
    def planned(self) -> bool:
        """Whether the plan has this evaluation computed."""
        return self.schedule is None or (self.index < len(self.schedule) and self.schedule[self.index])

    @property
    def to_compute(self) -> bool:
        """Whether this evaluation is to run the network."""
        return self.planned or bool(self.given_up)

    @property
    def keeps(self) -> bool:
        """Whether what is computed now is of use to a later evaluation."""
        if self.given_up:
            return False
        return self.schedule is None or self.index in self.useful or bool(self.forced and self.index < self.last_cached)

    @contextmanager
    def evaluation(self, sigma: float):
        """One call of the denoiser by the sampler."""
        self.index += 1
        if not (self.given_up or self.evaluations.expects(self.index, sigma)):
            self.disable(f"The sampler or another cache node left the plan at evaluation {self.index}, "
                         "so the rest was computed.")
        self.sigma = sigma
        self.open, self.network_ran, self.recalled, self.forced = True, False, False, ""
        self.calls.clear()
        try:
            with self.clock.span():
                yield
        finally:
            self.open = False
        self._tell()
        if self.network_ran or self.recalled:
            self.report.computed.append(self.index)
            if not self.network_ran:
                self.report.recalled.append(self.index)
            if not self.planned:
                self.report.unplanned.append((self.index, self.forced or self.given_up or "another node asked for it"))
        elif self.to_compute:
            self._note("Another node skipped evaluations that were to be computed; use one cache node at a time.")
        if self.index >= self.last_cached and self.schedule is not None:
            self.forget()
        elif self.planned and self.keeps:
            self._drop_unseen()

    def _tell(self) -> None:
        schedule = None if self.given_up else self.schedule
        try:
            self.settings.evaluated(self.index, self.network_ran or self.recalled, schedule)
        except Exception:
            log.exception("ReCache: the progress of a run could not be shown.")

    def _drop_unseen(self) -> None:
        """Forget conds and windows that this computed evaluation did not have: they ended, or windows moved on."""
        now = self.position()
        for key in [key for key, history in self.histories.items() if history.positions[0] != now]:
            del self.histories[key]

    def _note(self, sentence: str) -> None:
        if sentence not in self.report.notes:
            self.report.notes.append(sentence)

    def _force(self, reason: str) -> None:
        self.forced = self.forced or reason

    def _remember(self, key: tuple, feature, base=None, probe=None) -> None:
        history = self.histories.setdefault(key, History(self.mechanism, self.cache_device))
        try:
            history.record(self.position(), feature, base, probe)
        except torch.OutOfMemoryError:
            self.disable("Memory ran out while caching, so the rest was computed; set the cache device to cpu.")
        held = sum(history.bytes for history in self.histories.values())
        self.report.peak_cache_bytes = max(self.report.peak_cache_bytes, held)

    # ---- the cache point `output`

    def calc_cond_batch(self, executor, model, conds, x_in, timestep, model_options):
        """The host's predictions for a list of conds (denoised, each [batch, channels, ...]), computed or forecast."""
        if not self.open:
            return executor(model, conds, x_in, timestep, model_options)
        window = model_options.get("transformer_options", {}).get("context_window")
        window = tuple(getattr(window, "index_list", ()) or ())
        self.call = (self.calls[window], window)
        self.calls[window] += 1
        self.seen.clear()
        if not self.settled:
            self._look_for_obstacles(conds, model_options)
        active = [None if cond is None else [c for c in cond if is_active(c, timestep)] for cond in conds]
        keys = [(self.call, tuple(c["uuid"] for c in cond)) if cond else None for cond in active]
        if self.cache_point == "output" and not self.to_compute:
            outs = self._forecast_outputs(keys, x_in)
            if outs is not None:
                _count_hooks(active, model, timestep, model_options)
                return outs
        asked = cache_key(x_in, timestep, (self.call, *keys)) if self._asks else None
        answer = None if asked is None else self.settings.prefix_cache.get(asked)
        if answer is not None:
            outs = self._recall(answer, model, x_in.device)
            _count_hooks(active, model, timestep, model_options)
        else:
            self.found = None if asked is None else {}
            outs = executor(model, conds, x_in, timestep, model_options)
            if not self.network_ran:
                return outs
            if not self.settled:
                self.use_output(self.block_refusal or "the model offers no blocks to take features from")
            if asked is not None and not self.given_up:
                stack = self.stack if self.cache_point == "blocks" else None
                self.settings.prefix_cache.put(
                    asked, CacheEntry([kept(out) for out in outs], self.report.cache_point_reason, stack, self.found))
        if self.index < self.last_cached and not all(bool(torch.isfinite(out).all()) for out in outs):
            self.disable(f"The model returned NaN or infinity at evaluation {self.index}, "
                         "so nothing was forecast from there on.")
        if self.cache_point == "output" and self.keeps:
            for key, out in zip(keys, outs):
                if key is not None:
                    self._remember(key, (x_in - out) / self.sigma if self.of_direction else out, x_in)
        return outs

    @property
    def _asks(self) -> bool:
        """Whether the answer to this computed evaluation may be known, or of use to another run."""
        return (self.settings.prefix_cache is not None and self.planned and not self.given_up
                and not (self.settled and self.last_cached < 0))

    def _recall(self, answer: CacheEntry, model, device: torch.device) -> list[torch.Tensor]:
        """The predictions of an earlier run for this very question, and its features into the histories."""
        self.recalled = True
        if not self.settled:
            self.network = model
            if answer.stack is None:
                self.use_output(answer.reason)
            else:
                self.use_blocks(answer.stack)
        if self.cache_point == "blocks" and self.keeps:
            for key, (feature, probe) in answer.features.items():
                self._remember(key, feature.to(device), None, None if probe is None else probe.to(device))
        return [out.to(device, copy=True) for out in answer.outs]

    def _look_for_obstacles(self, conds, model_options) -> None:
        """What makes skipping the blocks unsound, as far as it can be seen from outside."""
        if any("control" in c for cond in conds if cond is not None for c in cond):
            self.use_output("a ControlNet adds to the tokens between the blocks")
        elif "multigpu_clones" in model_options:
            self.use_output("the model runs on several GPUs at once")

    def _forecast_outputs(self, keys, x_in):
        histories = [None if key is None else self.histories.get(key) for key in keys]
        if not all(key is None or (history is not None and history.fits(x_in.shape))
                   for key, history in zip(keys, histories)):
            self._force("there was nothing to forecast this cond from")
            return None
        base = x_in if self.mechanism.of_residual else None
        try:
            features = [None if history is None else history.forecast(self.position(), x_in.device, base)
                        for history in histories]
            return [torch.zeros_like(x_in) if feature is None
                    else feature.mul_(-self.sigma).add_(x_in) if self.of_direction else feature
                    for feature in features]
        except torch.OutOfMemoryError:
            self.disable("Memory ran out while forecasting, so the rest was computed; set the cache device to cpu.")
            return None

    # ---- the cache point `blocks`

    def apply_model(self, executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
        """One call of the network for a batch of conds, with its blocks computed or skipped."""
        def call(mapping=None):
            options = transformer_options
            if mapping is not None:
                replace = transformer_options.get("patches_replace", {})
                options = transformer_options | {"patches_replace": replace | {"dit": mapping}}
            self.bypassed = False
            out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
            self.network_ran |= not (self.bypassed or isinstance(mapping, Skipper))
            return out

        if not self.open or self.cache_point != "blocks":
            return call()
        uuids = transformer_options["uuids"]
        others = transformer_options.get("patches_replace", {}).get("dit", {})
        keys = []
        for uuid in uuids:
            key = (self.call, uuid, tuple(x.shape[1:]), x.shape[0] // len(uuids))
            keys.append((*key, self.seen[key]))  # a cond can be there several times, for different areas
            self.seen[key] += 1

        if not self.to_compute:
            if executor.class_obj is not self.network:
                self._force("a second model takes part, which only the cache point output can cache")
            elif all(len(self.histories.get(key, ())) for key in keys):
                skipper = Skipper(others, self.stack, self.mechanism.probes,
                                  lambda base, probe: self._forecast_blocks(keys, base, probe))
                try:
                    out = call(skipper)
                    if skipper.done:
                        return out
                    self._force("the model took another way through its blocks")
                except ForecastFailed:
                    self.disable(
                        "Memory ran out while forecasting, so the rest was computed; set the cache device to cpu.")
            else:
                self._force("there was nothing to forecast this cond from")

        if self.stack is None and not self.block_refusal and not self.settled:
            return self._learn(executor.class_obj, call, transformer_options, others, keys)
        if executor.class_obj is not self.network or not (self.keeps or self.found is not None):
            return call()
        recorder = Recorder(others, self.stack, self.mechanism.of_residual, self.mechanism.probes,
                            lambda *feature: self._remember_blocks(keys, *feature))
        return call(recorder)

    def _learn(self, model, call, transformer_options, others, keys):
        # compiled blocks can't run under a dispatch mode
        meter = None if any(map(is_compiled, model.diffusion_model.modules())) else FlopMeter()
        learner = BlockProbe(others, self.mechanism.of_residual, self.mechanism.probes, meter)
        with meter or nullcontext():
            out = call(learner)
        kinds = {key[0] for key in learner.keys}
        if not learner.keys and not learner.refusal:
            self.block_refusal = "the model offers no blocks to take features from"
        elif learner.refusal or learner.output.shape[0] % len(keys):
            self.block_refusal = learner.refusal or "its blocks work on another batch"
        elif kinds & set(transformer_options.get("patches", {})):
            self.block_refusal = "another node patches the tokens between its blocks"
        else:
            stack = learner.stack()
            self.network = model
            self.use_blocks(stack)
            if self.cache_point == "blocks":
                image = stack.image_tokens(learner.output, learner.tokens)
                self._remember_blocks(keys, image, learner.base, learner.probe)
        return out

    def _remember_blocks(self, keys, image, base, probe) -> None:
        n = len(keys)
        parts = zip(keys, image.chunk(n), base.chunk(n) if base is not None else [None] * n,
                    probe.chunk(n) if probe is not None else [None] * n)
        for key, feature, base_part, probe_part in parts:
            if self.found is not None:
                feature, base_part = feature if base_part is None else feature - base_part, None
                self.found[key] = kept(feature), None if probe_part is None else kept(probe_part)
            if self.keeps:
                self._remember(key, feature, base_part, probe_part)

    def _forecast_blocks(self, keys, base, probe):
        n = len(keys)
        bases = base.chunk(n)
        probes = probe.chunk(n) if probe is not None else [None] * n
        try:
            images = [self.histories[key].forecast(self.position(), base.device,
                                                   bases[i] if self.mechanism.of_residual else None, probes[i])
                      for i, key in enumerate(keys)]
            return images[0] if n == 1 else torch.cat(images)
        except torch.OutOfMemoryError:
            raise ForecastFailed from None

    # ---- the end

    def forget(self) -> None:
        """Free every tensor of the cache."""
        for history in self.histories.values():
            history.clear()
        self.histories.clear()

    def close(self, samples: torch.Tensor | None) -> Report:
        """End the run with what it made, or None if it was cut short; nothing of it stays alive but the report."""
        self.forget()
        report = self.report
        report.finished, report.samples = samples is not None, fingerprint(samples)
        report.evaluations = self.index + 1
        report.times = self.evaluations.times
        report.seconds = self.clock.seconds()
        report.planned = [i for i, computed in enumerate(self.schedule or ()) if computed]
        return report
