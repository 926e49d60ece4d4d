"""One cond that is asked about something else, and conds that take turns: correct forecasts, and as many as planned."""

from __future__ import annotations

import itertools

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider, calc_cond_batch
from comfy_extras import nodes_flux
from nodes import ConditioningCombine, ConditioningSetTimestepRange

from recache.caching import Reason
from recache.caching.plan import including
from recache.caching.turns import Turns
from tests.sampling import Script, Trace, advanced, assert_same, check_plan, models, observe, prompt, settings
from tests.tiny.families import FAMILIES
from tests.tiny.guidance import windows

pytestmark = pytest.mark.usefixtures("host")
BOTH = pytest.mark.parametrize("cache_point", ["output", "blocks"])
STILL = torch.full((21,), 0.5)  # twenty evaluations at one noise level


def check_moved_plan(trace: Trace, budget: float) -> None:
    """`check_plan`, of a run in which computed evaluations were moved."""
    assert trace.report.notes == [Reason("plan_moved")]
    trace.report.notes.clear()
    check_plan(trace, budget)


# ---- the same cond, asked about something else


@pytest.mark.parametrize("mechanism", ["reuse", "taylor", "residual", "dicache"])
def test_references_whose_keys_the_host_keeps(mechanism):
    """The host's FluxKVCache: the reference's tokens are there in the first evaluation only."""
    if not hasattr(nodes_flux, "FluxKVCache"):
        pytest.skip("this ComfyUI has no FluxKVCache")
    with torch.inference_mode(False):
        reference = FAMILIES["flux2"].latent()["samples"].clone()
    prompts = prompt("flux2", 1, reference_latents=[reference]), prompt("flux2", 2)

    def script(recache):
        made = Script(0.05)
        model = nodes_flux.FluxKVCache.execute(models("flux2")[0]).args[0]
        return made, made.run("flux2", recache, model=model, prompts=prompts)

    def cached(cache_point):
        return script(settings(computed={0, 2, 5}, mechanism=mechanism, cache_point=cache_point))

    (plain, _), (at_blocks, trace), (at_output, _) = script(None), cached("blocks"), cached("output")
    if mechanism == "dicache":
        assert trace.report.cache_point == "none" and trace.report.notes[0].code == "dicache_needs_blocks"
    else:
        assert trace.report.cache_point == "output" and trace.report.computed == [0, 2, 5]
        assert trace.report.cache_point_reason == Reason("blocks_differ")
    assert_same(at_blocks, at_output, "output")
    for i in (0, 2, 5):
        torch.testing.assert_close(at_blocks.answers[i], plain.answers[i], rtol=1e-4, atol=1e-4)


def tiled(since: float = 1.0):
    """Tiny FLUX that is given tiles at another place at every noise level, from the noise level `since` on."""
    def wrapper(apply_model, asked):
        x, timestep, c = asked["input"], asked["timestep"], asked["c"]
        if timestep[0] > since:
            return apply_model(x, timestep, **c)
        out = torch.empty_like(x)
        place = 2 * (int(timestep[0] * 20) % 3) + 2
        for tile in (slice(None, place), slice(place, None)):
            out[..., tile] = apply_model(x[..., tile], timestep, **c)
        return out

    model = models("flux")[0].clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


@pytest.mark.parametrize("mechanism", ["residual", "taylor"])
def test_tiles_are_cached_at_the_output(mechanism):
    def answers(cache_point):
        script = Script()
        return script, script.run(
            "flux", settings(computed={0, 2, 5}, mechanism=mechanism, cache_point=cache_point), model=tiled())

    (at_blocks, trace), (at_output, _) = answers("blocks"), answers("output")
    assert trace.report.cache_point == "output" and trace.report.cache_point_reason == Reason("other_input")
    assert trace.report.computed == trace.with_network == [0, 2, 5]
    assert_same(at_blocks, at_output, "blocks")


def test_tiles_that_come_later_are_computed():
    script, plain = Script(), Script()
    plain.run("flux", None, model=tiled(0.55))
    trace = script.run("flux", settings(computed={0, 2}, cache_point="blocks"), model=tiled(0.55))
    assert trace.report.cache_point == "blocks"
    assert trace.report.unplanned == [(i, Reason("other_input")) for i in range(4, 8)]
    for answer, own in list(zip(script.answers, plain.answers))[4:]:
        assert torch.equal(answer, own)


@pytest.mark.parametrize("since", [1.0, 0.55])
def test_an_input_that_another_node_changes_is_no_longer_cached_by_blocks(since):
    """It is rolled for the network, each time by another amount."""
    def model():
        def roll(executor, x, timestep, *args, **kwargs):
            by = int(timestep[0] * 20) % 5 if timestep[0] <= since else 0
            return executor(x.roll(2 * by, -1), timestep, *args, **kwargs).roll(-2 * by, -1)

        made = models("flux")[0].clone()
        made.add_wrapper(WrappersMP.DIFFUSION_MODEL, roll)
        return made

    script, plain = Script(), Script()
    plain.run("flux", None, model=model())
    trace = script.run("flux", settings(computed={0, 2, 5}, cache_point="blocks"), model=model())
    if since == 1.0:
        assert trace.report.cache_point == "output" and trace.report.cache_point_reason == Reason("other_input")
        assert trace.report.computed == [0, 2, 5]
    else:
        assert trace.report.unplanned and {code for _, reason in trace.report.unplanned for code in [reason.code]} == {
            "other_input"}
    for i in trace.report.computed:
        assert torch.equal(script.answers[i], plain.answers[i])


@pytest.mark.parametrize("changed", [True, False])
def test_another_input_of_one_of_two_streams_is_no_longer_cached_by_blocks(changed):
    """Another node's wrapper gives the network other sound, or copies of the picture and the sound that are its own."""
    def other(executor, x, *args, **kwargs):
        picture, sound = x
        return executor([picture.clone(), sound.roll(1, -2) if changed else sound.clone()], *args, **kwargs)

    model = models("ltxav")[0].clone()
    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, other)
    trace = Script().run("ltxav", settings(computed={0, 2, 5}, cache_point="blocks"), model=model)
    assert trace.report.cache_point == ("output" if changed else "blocks")
    assert (trace.report.cache_point_reason == Reason("other_input")) == changed
    assert trace.report.computed == [0, 2, 5]


class InTurn(Script):
    """Asks about the noise and other latents in turn."""

    def __init__(self, *others):
        super().__init__()
        self.latents = [lambda noise: noise, *others]

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, *args):
        self.answers = []
        for i, sigma in enumerate(sigmas[:-1]):
            x = self.latents[i % len(self.latents)](noise)
            self.answers.append(model_wrap(x, sigma * noise.new_ones(noise.shape[0]), **extra_args))
        return noise


@BOTH
@pytest.mark.parametrize("others", [
    (lambda noise: noise.flip(-1),), (lambda noise: -noise,),
    (lambda noise: noise.roll(3, -1), lambda noise: 0.2 - noise)])
def test_latents_in_turn_are_forecast_from_their_own(others, cache_point):
    """Nothing moves in the run, so every forecast must be right."""
    plain, script = InTurn(*others), InTurn(*others)
    plain.run("flux", None, STILL)
    trace = script.run("flux", settings(0.5, cache_point=cache_point, mechanism="reuse"), STILL)
    check_moved_plan(trace, 0.5)
    assert_same(script, plain, cache_point)


class Pair:
    """Euler on two latents in turn."""

    def __init__(self):
        self.answers = []

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, *args):
        latents = [noise, noise.roll(5, -1)]
        for sigma, following in itertools.pairwise(sigmas):
            for j, x in enumerate(latents):
                self.answers.append(model_wrap(x, sigma * noise.new_ones(noise.shape[0]), **extra_args))
                latents[j] = x + (x - self.answers[-1]) / sigma * (following - sigma)
        return latents[0]


@BOTH
def test_two_runs_of_a_solver_in_turn(cache_point):
    def pair(recache):
        sampler = Pair()
        sigmas = torch.linspace(1.0, 0.0, 11)
        return sampler, observe(models("flux")[0], recache, advanced("flux", sampler, sigmas))

    (plain, _), (cached, trace) = pair(None), pair(settings(0.5, cache_point=cache_point, mechanism="reuse"))
    check_moved_plan(trace, 0.5)
    computed = trace.report.computed
    assert abs(2 * sum(i % 2 for i in computed) - len(computed)) <= 1, "both have their share"
    for i in (0, 1):
        assert torch.equal(cached.answers[i], plain.answers[i])


# ---- conds that take turns


class Alternating(CFGGuider):
    """Asks about its prompts in turn, like FlowEdit's guiders."""

    def __init__(self, model, *prompts):
        super().__init__(model)
        self.names = [f"prompt_{i}" for i in range(len(prompts))]
        self.inner_set_conds(dict(zip(self.names, prompts)))
        self.asked = 0

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        name = self.names[self.asked % len(self.names)]
        self.asked += 1
        return calc_cond_batch(self.inner_model, [self.conds[name]], x, timestep, model_options)[0]


@BOTH
@pytest.mark.parametrize("count, budget", [(2, 0.5), (2, 0.3), (3, 0.5), (3, 0.3)])
def test_prompts_in_turn_keep_the_budget(count, budget, cache_point):
    def guider(model):
        return Alternating(model, *(prompt("flux", seed) for seed in range(count)))

    plain, script = Script(0.0), Script(0.0)
    plain.run("flux", None, STILL, guider=guider)
    trace = script.run("flux", settings(budget, cache_point=cache_point, mechanism="reuse"), STILL, guider=guider)
    check_moved_plan(trace, budget)
    shares = [sum(i % count == j for i in trace.report.computed) for j in range(count)]
    assert max(shares) - min(shares) <= 1, "each has its share"
    assert_same(script, plain, cache_point)


def parts(name: str, count: int):
    """As many prompts, one after another, each in its part of the run."""
    combined = None
    for i in range(count):
        [part] = ConditioningSetTimestepRange().set_range(prompt(name, i % 2), i / count, (i + 1) / count)
        combined = part if combined is None else ConditioningCombine().combine(combined, part)[0]
    return combined, prompt(name, 9)


@BOTH
@pytest.mark.parametrize("count, computed", [(5, 6), (10, 10)])
def test_prompts_in_parts_of_the_run(count, computed, cache_point):
    """Every part begins with a computed evaluation, in the place of another as long as there is one."""
    sampling = models("sd3")[0].get_model_object("model_sampling")
    sigmas = torch.tensor([sampling.percent_to_sigma((i + 0.5) / 20) for i in range(20)] + [0.0])
    plain, script = Script(0.0), Script(0.0)
    plain.run("sd3", None, sigmas, cfg=2.0, prompts=parts("sd3", count))
    front_loaded = {0, 1, 2, 3, 4, 5}
    trace = script.run("sd3", settings(computed=front_loaded, cache_point=cache_point), sigmas, cfg=2.0,
                       prompts=parts("sd3", count))
    report = trace.report
    assert report.computed == report.planned == trace.computed and not report.unplanned
    assert len(report.computed) == computed
    assert set(range(0, 20, 20 // count)) <= set(report.computed)
    assert report.notes == [Reason("parts_added", {"count": computed - 6}) if computed > 6 else Reason("plan_moved")]
    for i in report.computed:
        assert torch.equal(script.answers[i], plain.answers[i])


@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform", "looped_uniform", "batched"])
def test_windows_that_move_are_left_uncached(schedule):
    model, latent = windows(schedule)
    plain, script = Script(), Script()
    plain.run("wan21_t2v", None, model=model, latent=latent)
    trace = script.run("wan21_t2v", settings(0.5, cache_point="output"), model=model, latent=latent)
    if schedule in ("standard_static", "batched"):
        assert trace.report.computed == trace.report.planned and len(trace.report.planned) == 4
        return
    assert trace.report.notes == [Reason("windows_move")] and trace.report.planned == []
    assert all(map(torch.equal, script.answers, plain.answers))


# ---- the rules


def test_required_evaluations_take_the_place_of_the_nearest():
    def of(computed, required):
        found = including(tuple(i in computed for i in range(8)), required)
        return {i for i, is_computed in enumerate(found) if is_computed}

    assert of({0, 3, 6}, ()) == of({0, 3, 6}, {3}) == {0, 3, 6}
    assert of({0, 3, 6}, {5}) == {0, 3, 5}
    assert of({0, 3, 6}, {4, 5}) == {0, 4, 5}
    assert of({0, 3}, {4, 5}) == {0, 4, 5}, "one more, where no other is left"
    assert of({0}, {7}) == {0, 7}


def test_turns():
    turns = Turns()
    for i, what in enumerate("aab"):
        turns.ask(what, i)
        turns.compute(i)
    turns.ask("a", 3)
    assert not turns.others_turn(3), "b has not come back yet"
    turns.compute(3)
    turns.ask("b", 4)
    assert not turns.others_turn(4), "b itself was computed longest ago"
    turns.ask("a", 5)
    assert turns.others_turn(5)
    for i in range(6, 9):
        turns.ask("a", i)
    assert not turns.others_turn(8), "b is over"
