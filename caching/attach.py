"""Attaches caching to a model through the host's wrappers, one job each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP

from . import host_check, model_identity
from .block_cost import is_compiled
from .cond_ranges import beginnings, windows_move
from .dry_run import dry_run
from .evaluations import Evaluations, evaluation_times, takes_over
from .host_calls import NetworkWatch
from .memory import read
from .prefix_run import PrefixRun
from .reasons import Reason
from .report import Report, joined, publish, report_of
from .run import Run
from .settings import CacheConfig, RunSettings

KEY = "recache"


def attach(model, settings: CacheConfig):
    """A clone of `model` (ModelPatcher) that samples under `settings`; an earlier ReCache on it is replaced.

    Where ComfyUI has moved an extension point, the clone samples as it would without ReCache.
    """
    model = model.clone()
    if host_check.moved():
        return model
    wrappers = {
        WrappersMP.OUTER_SAMPLE: partial(outer_sample, settings),  # other nodes may replace the model's options
        WrappersMP.PREDICT_NOISE: predict_noise,
        WrappersMP.CALC_COND_BATCH: calc_cond_batch,
        WrappersMP.APPLY_MODEL: apply_model,
    }
    for kind, wrapper in wrappers.items():
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    return model


def config_of(model) -> CacheConfig | None:
    """The settings that `attach` put on this model, or None."""
    return next((wrapper.args[0] for wrapper in model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)), None)


def outer_sample(config: CacheConfig, executor, noise, latent_image, sampler, sigmas, denoise_mask=None, *args,
                 **kwargs):
    """Open a run before sampling, and close it afterwards, whatever happens."""
    guider = executor.class_obj
    original = guider.model_options
    before = _continued(config, latent_image, sigmas)
    shapes = kwargs.get("latent_shapes") or [noise.shape]
    run = _open(config, guider, sampler, sigmas, noise, denoise_mask, shapes, before)
    guider.model_options = comfy.model_patcher.create_model_options_clone(original)
    guider.model_options["transformer_options"][KEY] = run
    _watch_network(guider.model_options["transformer_options"]["wrappers"], run.watch)
    samples = None
    try:
        samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
        return samples
    finally:
        guider.model_options = original
        report = run.close(samples)
        if config.computes_all:  # the evaluations were not known before
            report.times = evaluation_times(
                run.planner.sigmas, guider.model_patcher.get_model_object("model_sampling"))
        if before is not None:
            report = joined(before, report)
        publish(config.identity, report)
        config.notify_published(report)


def _continued(config: CacheConfig, latent, sigmas) -> Report | None:
    """The report on the planned run that made `latent`, if a run over `sigmas` continues it (CacheConfig.continues)."""
    made = report_of(config.identity, latent) if config.continues else None
    if made is None or len(made.times) != made.evaluations or not takes_over(sigmas, made.leftover):
        return None
    return made


def _open(config: CacheConfig, guider, sampler, sigmas, noise, denoise_mask, shapes, before: Report | None) -> Run:
    patcher = guider.model_patcher
    evaluations = Evaluations()
    if not config.computes_all:
        evaluations = dry_run(sampler, sigmas, guider, noise.shape, denoise_mask is not None)
        if windows_move(guider.model_options.get("context_handler"), shapes[0], sigmas):
            evaluations = Evaluations(refusal=Reason("windows_move"))
        evaluations = replace(evaluations, begin=beginnings(guider, evaluations.sigmas))
    obstacle = None
    if is_compiled(patcher.get_model_object("diffusion_model")):
        obstacle = Reason("compiled")
    elif evaluations.stochastic and config.cache_point == "auto":
        obstacle = Reason("sampler_adds_noise")  # which features of blocks would carry over
    settings = replace(_settings(guider, sampler, shapes[0], evaluations), leftover=read(sigmas, -1), before=before)
    config = config.for_run(config, settings)
    inputs = config, evaluations, patcher.load_device, shapes, obstacle, settings.cfg
    run = Run(*inputs) if config.prefix_cache is None else PrefixRun(config.prefix_cache, *inputs)
    run.report.cfg, run.report.size, run.report.leftover = settings.cfg, settings.size, settings.leftover
    if run.planner.disabled is None:
        run.report.notes += config.notes
    return run


def _settings(guider, sampler, shape, evaluations: Evaluations) -> RunSettings:
    """Of a run that begins; `shape` [batch, channels, ..., height, width], other latents are of no size."""
    size = model_identity.size_of(guider.model_patcher, tuple(shape)) if len(shape) >= 4 else ()
    return RunSettings(model_identity.sampler_name(sampler), evaluations.times, model_identity.cfg_of(guider),
                       tuple(size), evaluations.multistep)


def _watch_network(wrappers: dict, watch: NetworkWatch) -> None:
    """Lets the run see whether another node's wrapper returns in the network's place, or gives it another input."""
    def enter(executor, x, *args, **kwargs):
        watch.enter(x)
        return executor(x, *args, **kwargs)

    def reach(executor, x, *args, **kwargs):
        watch.reach(x)
        return executor(x, *args, **kwargs)

    wrappers[WrappersMP.APPLY_MODEL][KEY] = wrappers[WrappersMP.APPLY_MODEL].pop(KEY)  # the innermost

    others = wrappers.get(WrappersMP.DIFFUSION_MODEL)
    if others:  # the first is the outermost
        wrappers[WrappersMP.DIFFUSION_MODEL] = {f"{KEY}_enter": [enter], **others, f"{KEY}_reach": [reach]}


def _run(options: dict) -> Run | None:
    run = options.get(KEY)
    return run if isinstance(run, Run) else None


def predict_noise(executor, x, timestep, model_options, seed):
    """One evaluation."""
    run = _run(model_options.get("transformer_options", {}))
    if run is None:
        return executor(x, timestep, model_options, seed)
    return run.evaluate(read(timestep), lambda: executor(x, timestep, model_options, seed))


def calc_cond_batch(executor, model, conds, x_in, timestep, model_options):
    """The predictions of an evaluation's conds: where the cache point `output` is."""
    run = _run(model_options.get("transformer_options", {}))
    if run is None:
        return executor(model, conds, x_in, timestep, model_options)
    return run.calc_cond_batch(executor, model, conds, x_in, timestep, model_options)


def apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
    """One call of the network: where the cache point `blocks` is."""
    run = _run(transformer_options)
    if run is None:
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
    return run.apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
