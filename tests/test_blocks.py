"""Both cache points on every family: what runs, what is skipped, and that computed evaluations are the host's own."""

from __future__ import annotations

import itertools
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from comfy.patcher_extension import WrappersMP

from recache.caching import Reason, mechanisms
from recache.caching.block_probe import probe_blocks
from recache.caching.host_calls import NetworkCall, NetworkWatch
from recache.caching.streams import joined, parted
from tests.bench import families
from tests.sampling import Script, ksampler, models, observe, run, settings
from tests.tiny.families import FAMILIES, IN_SUITE
from tests.tiny.odd_paths import ODD

pytestmark = pytest.mark.usefixtures("host")
COMPUTED = families.COMPUTED
ADDING = ("wan21_vace",)  # add to the tokens between their blocks
WITH_BLOCKS = [name for name in IN_SUITE if FAMILIES[name].blocks and name not in ADDING]
# Of every family one mechanism that stores features, one that stores residuals and one that probes; of two all.
FEATURES = [*itertools.product(WITH_BLOCKS, ("taylor", "residual", "dicache"), (1,)),
            *itertools.product(("flux", "wan21_t2v"), ("taylor", "hermite"), (3,)), ("flux", "hermite", 1),
            ("flux", "reuse", 1), ("wan21_t2v", "meancache", 1)]


@cache
def uncached_answers(name: str) -> list[torch.Tensor]:
    """What a script is answered without ReCache."""
    plain = Script()
    plain.run(name, None, cfg=4.0)
    return plain.answers


@pytest.mark.parametrize("name", IN_SUITE)
def test_output_skips_the_network(name):
    trace = families.traced(name, "output")
    assert [evaluation.calls > 0 for evaluation in trace.evaluations] == [i in COMPUTED for i in range(7)]
    assert trace.report.computed == trace.report.planned == sorted(COMPUTED)
    assert trace.report.cache_point == "output"
    assert all(part.isfinite().all() for part in families.streams(trace.samples))


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_blocks_skips_every_block(name):
    trace = families.traced(name, "blocks")
    calls, blocks = zip(*((evaluation.calls, evaluation.blocks) for evaluation in trace.evaluations))
    assert calls == (calls[1] + 1,) + (calls[1],) * 6, "embedding and final layers run on every evaluation"
    assert blocks[1:] == tuple(blocks[3] if i in COMPUTED else 0 for i in range(1, 7))
    assert blocks[3] >= FAMILIES[name].blocks
    assert 1 <= blocks[0] - blocks[3] <= 2, "the replay of the first call runs one block of every kind"
    assert trace.report.computed == trace.report.planned == sorted(COMPUTED)
    assert trace.report.cache_point == "blocks"
    assert 0.0 < trace.report.cached_cost < 1.0
    assert all(part.isfinite().all() for part in families.streams(trace.samples))


@pytest.mark.parametrize("name", [name for name in IN_SUITE if name not in WITH_BLOCKS])
def test_where_blocks_cannot_be_skipped_the_output_is_cached_and_the_report_says_why(name):
    trace = families.traced(name, "blocks")
    assert trace.report.cache_point == "output"
    assert trace.report.cache_point_reason.code == (
        "tokens_changed_between_blocks" if name in ADDING else "no_blocks")
    assert trace.with_network == trace.report.computed == sorted(COMPUTED)


def test_both_experts_of_a_pair():
    for model in models("wan22_14b"):
        trace = observe(model, settings(computed=COMPUTED, cache_point="blocks"), ksampler("wan22_14b", steps=7))
        assert trace.with_blocks == sorted(COMPUTED)


@pytest.mark.parametrize("name, mechanism, order", FEATURES)
def test_computed_evaluations_are_the_hosts_own_to_the_bit(name, mechanism, order):
    script = Script()
    trace = script.run(name, settings(computed={0, 1, 4, 6}, cache_point="blocks", mechanism=mechanism, order=order),
                       cfg=4.0)
    assert trace.report.cache_point == "blocks" and not trace.report.unplanned
    assert trace.report.computed == [0, 1, 4, 6]
    for i, (cached, own) in enumerate(zip(script.answers, uncached_answers(name), strict=True)):
        assert torch.equal(cached, own) == (i in (0, 1, 4, 6)), i


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_nothing_is_forecast_where_nothing_moves(name):
    """Equal inputs have equal features: a tensor that the model goes on changing in place would show here."""
    still = torch.full((6,), 0.5)
    script = Script(pace=0.0)
    trace = script.run(name, settings(computed={0, 2}, cache_point="blocks"), still, cfg=4.0,
                       batch=2 if FAMILIES[name].batches else 1)
    assert trace.with_blocks == [0, 2]
    assert all(torch.equal(answer, script.answers[0]) for answer in script.answers)


@pytest.mark.parametrize("name", IN_SUITE)
def test_reuse_at_the_output_repeats_the_predicted_direction(name):
    script = Script()
    script.run(name, settings(computed={0, 3}, cache_point="output", mechanism="reuse"), cfg=4.0)
    for i, direction in enumerate(script.directions):
        torch.testing.assert_close(direction, script.directions[0 if i < 3 else 3], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(script.directions[0], script.directions[3], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name, mechanism, cache_point, reason", [
    ("flux", "taylor", "output", Reason("output_preferred", {"mechanism": "taylor"})),
    ("flux", "residual", "blocks", Reason("blocks_possible")),
    ("wan21_t2v", "residual", "blocks", Reason("blocks_possible")),
    ("ltxav", "taylor", "blocks", Reason("blocks_possible")),
    ("wan21_vace", "residual", "output", Reason("tokens_changed_between_blocks")),
    ("sd15", "residual", "output", Reason("no_blocks"))])
def test_auto_takes_blocks_for_residuals_and_for_video_with_sound(name, mechanism, cache_point, reason):
    trace = run(name, settings(computed=COMPUTED, mechanism=mechanism), steps=7, cfg=4.0)
    assert (trace.report.cache_point, trace.report.cache_point_reason) == (cache_point, reason)
    assert trace.computed == trace.report.computed == sorted(COMPUTED)


@pytest.mark.parametrize("name", ["flux", "wan21_t2v", "hunyuan_video", "ltxv"])
def test_taylor_at_the_blocks_beats_reuse_on_a_smooth_path(name):
    """For close evaluations, a line through the features lies nearer to the answer than the last one does."""
    sigmas = torch.linspace(0.5, 0.4998, 6)

    def error(mechanism):
        script, plain = Script(1e-3), Script(1e-3)
        plain.run(name, None, sigmas)
        script.run(name, settings(computed={0, 1}, cache_point="blocks", mechanism=mechanism), sigmas)
        return float((script.answers[2] - plain.answers[2]).square().mean())

    assert error("taylor") < 0.1 * error("reuse")


@pytest.mark.parametrize("name", ["flux", "wan21_t2v"])
def test_dicache_runs_the_first_block_and_is_charged_for_it(name):
    trace = run(name, settings(computed=COMPUTED, mechanism="dicache"), steps=7, cfg=4.0)
    blocks = [evaluation.blocks for evaluation in trace.evaluations]
    passes = blocks[3] // FAMILIES[name].blocks  # one for both conds together, or one each
    assert blocks[1:] == [blocks[3] if i in COMPUTED else passes for i in range(1, 7)]
    cheap = run(name, settings(computed=COMPUTED, mechanism="residual"), steps=7, cfg=4.0).report.cached_cost
    assert trace.report.cached_cost > cheap


def test_dicache_without_blocks_runs_uncached_and_says_why():
    trace = run("sd15", settings(0.5, mechanism="dicache"), steps=4)
    assert trace.with_network == [0, 1, 2, 3]
    assert trace.report.notes == [Reason("dicache_needs_blocks", {"because": Reason("no_blocks")})]


def test_other_patches_of_blocks_go_on_working():
    """A replacement that another node has put on a block is called in the block's place, on computed evaluations."""
    called = []

    def patch(args, extra):
        called.append(args["img"].shape)
        out = extra["original_block"](args)
        return {**out, "img": out["img"] * 0.5}

    model = models("flux")[0].clone()
    model.set_model_patch_replace(patch, "dit", "double_block", 1)
    script, plain = Script(), Script()
    plain.run("flux", None, model=model)
    alone = len(called)
    trace = script.run("flux", settings(computed={0, 3}, cache_point="blocks"), model=model)
    assert trace.report.cache_point == "blocks"
    assert len(called) - alone == 2
    assert torch.equal(script.answers[0], plain.answers[0]) and torch.equal(script.answers[3], plain.answers[3])
    untouched = Script()
    untouched.run("flux", None)
    assert not torch.equal(untouched.answers[0], plain.answers[0])


def test_a_patch_that_adds_tokens_between_blocks_is_respected():
    def add(args):
        return {**args, "img": args["img"] + 1.0}

    model = models("flux")[0].clone()
    model.set_model_double_block_patch(add)
    trace = observe(model, settings(computed=COMPUTED, cache_point="blocks"), ksampler("flux", steps=7))
    assert trace.report.cache_point == "output"
    assert trace.with_network == sorted(COMPUTED)


@pytest.mark.parametrize("mechanism", ["reuse", "residual", "taylor", "dicache"])
def test_features_of_other_tokens_are_not_forecast_from(mechanism):
    """A reference image whose tokens are there in the first evaluation only."""
    def model():
        times = []

        def first_with_reference(executor, x, timestep, context, y, guidance, ref_latents, *args, **kwargs):
            times.append(float(timestep[0]))
            references = [torch.ones_like(x)] if times[-1] == times[0] else ref_latents
            return executor(x, timestep, context, y, guidance, references, *args, **kwargs)

        made = models("flux")[0].clone()
        made.add_wrapper(WrappersMP.DIFFUSION_MODEL, first_with_reference)
        return made

    script, plain = Script(), Script()
    plain.run("flux", None, model=model())
    trace = script.run("flux", settings(computed={0, 4}, cache_point="blocks", mechanism=mechanism), model=model())
    assert trace.report.cache_point == "blocks"
    assert trace.report.unplanned == [(1, Reason("tokens_changed"))]
    assert trace.report.computed == [0, 1, 4] and not trace.report.notes
    assert torch.equal(script.answers[1], plain.answers[1])


def test_a_network_that_does_another_thing_when_it_is_called_again_is_cached_at_its_output():
    """A reference image whose tokens are there once, as where the host keeps their keys and values."""
    calls = []

    def first_with_reference(executor, x, timestep, context, y, guidance, ref_latents, *args, **kwargs):
        calls.append(0)
        references = [torch.ones_like(x)] if len(calls) == 1 else ref_latents
        return executor(x, timestep, context, y, guidance, references, *args, **kwargs)

    model = models("flux")[0].clone()
    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, first_with_reference)
    report = Script().run("flux", settings(computed={0, 4}, cache_point="blocks"), model=model).report
    assert report.cache_point == "output" and report.cache_point_reason == Reason("blocks_differ")
    assert report.computed == [0, 4]


def test_a_model_whose_path_for_replaced_blocks_is_broken_is_cached_at_its_output():
    def replaced(module, args, kwargs):
        if kwargs["transformer_options"].get("patches_replace", {}).get("dit"):
            raise TypeError("block got an unexpected argument")

    handle = models("flux")[0].model.diffusion_model.double_blocks[1].register_forward_pre_hook(
        replaced, with_kwargs=True)
    script, plain = Script(), Script()
    try:
        plain.run("flux", None)
        trace = script.run("flux", settings(computed={0, 3}, cache_point="blocks"))
    finally:
        handle.remove()
    assert trace.report.cache_point == "output" and trace.report.computed == [0, 3]
    assert trace.report.cache_point_reason == Reason("blocks_failed", {"error": "block got an unexpected argument"})
    assert torch.equal(script.answers[0], plain.answers[0])


@pytest.mark.parametrize("mechanism", ["reuse", "dicache", "residual"])
@pytest.mark.parametrize(("name", "code"), [
    ("kandinsky5", "blocks_not_one_stream"), ("hunyuan3d21", "blocks_not_one_stream"),
    ("stable_audio3", "blocks_differ")])
def test_a_model_whose_path_for_replaced_blocks_is_another_is_computed_on_its_plain_one(name, code, mechanism):
    odd, computed = ODD[name](), {0, 3, 4}
    script, plain = Script(), Script()
    options = {"model": odd.model, "prompts": odd.prompts, "latent": odd.latent, "cfg": 3.0}
    plain.run("flux", None, **options)
    trace = script.run("flux", settings(computed=computed, cache_point="blocks", mechanism=mechanism), **options)
    if mechanism == "dicache":
        assert trace.report.notes == [Reason("dicache_needs_blocks", {"because": Reason(code)})]
        computed = set(range(8))
    else:
        assert trace.report.cache_point == "output" and trace.report.cache_point_reason == Reason(code)
    assert trace.report.computed == sorted(computed)
    for i in computed:
        assert torch.equal(script.answers[i], plain.answers[i]), i


class Network(torch.nn.Module):
    """A network of two kinds of blocks; replacing those of the second changes what they do.

    Args:
        kinds: of its blocks, such as "aabb".
        drops: the kind whose replaced path leaves the shift out.
        uses_text: the output layer reads what the last block made of the text.
    """

    def __init__(self, kinds, drops="", uses_text=False):
        super().__init__()
        self.kinds, self.drops, self.uses_text = kinds, drops, uses_text
        self.ran: list[int] = []

    def forward(self, x, replaced):
        img, txt = x.clone(), torch.ones(1, 2, x.shape[2])
        for i, kind in enumerate(self.kinds):
            def block(img, txt, shift, i=i):
                self.ran.append(i)
                return img * 1.5 + shift, txt + 1.0

            def original(args, block=block, kind=kind):
                out = block(args["img"], args["txt"], 0.0 if kind == self.drops else 1.0)
                return dict(zip(("img", "txt"), out))

            if (kind, i) in replaced:
                out = replaced[kind, i]({"img": img, "txt": txt}, {"original_block": original})
                img, txt = out["img"], out["txt"]
            else:
                img, txt = block(img, txt, 1.0)
        return img.mul_(txt.mean() if self.uses_text else 2.0)


def probed(network):
    """What probing the blocks of this network finds, and how many of them ran."""
    x = torch.arange(24.0).reshape(1, 4, 6)

    def executor(options):
        return network(x, options.get("patches_replace", {}).get("dit", {}))

    executor.class_obj = SimpleNamespace(diffusion_model=network)
    call = NetworkCall(executor, (), {}, {}, ("a cond",), (None,), NetworkWatch())
    found = probe_blocks(call, mechanisms.make("residual"))
    ran = len(network.ran)
    assert torch.equal(found.out, network(x, {})), "the answer is the plain path's"
    return found, ran


@pytest.mark.parametrize("kinds", ["aaaa", "aabbb", "abbb", "aaab", "a", "abab"])
def test_one_block_of_every_kind_runs_twice_to_compare_the_paths(kinds):
    found, ran = probed(Network(kinds))
    assert found.refusal is None
    assert torch.equal(found.features[0].feature * 2.0, found.out), "the output layer changes its input in place"
    assert ran <= len(kinds) + len(set(kinds))


@pytest.mark.parametrize(("kinds", "drops"), [
    ("aaaa", "a"), ("aabbb", "a"), ("aabbb", "b"), ("abbb", "a"), ("abbb", "b"), ("aaab", "b"), ("a", "a"),
    ("abab", "a"), ("abab", "b")])
def test_a_kind_of_block_whose_paths_differ_is_found(kinds, drops):
    found, _ = probed(Network(kinds, drops))
    assert found.refusal == Reason("blocks_differ") and not found.features


def test_a_model_that_needs_more_than_the_image_of_its_last_block_is_not_skipped():
    found, _ = probed(Network("aaaa", uses_text=True))
    assert found.refusal == Reason("blocks_differ")


@pytest.mark.parametrize("name", IN_SUITE)
def test_the_table_in_the_readme_is_what_the_tests_find(name):
    (blocks, why), (output, _) = families.works(name, "blocks"), families.works(name, "output")
    assert output
    where = families.Verdict(name, "" if blocks else why).where
    [models] = [line.split(" | ")[1] for line in families.README.read_text().splitlines()
                if line.startswith(f"| {where} | ")]
    assert FAMILIES[name].title in models.removesuffix(" |").split(", "), "write it again: nox -s bench -- families"


def test_tokens_of_every_form_become_one_tensor_and_what_they_were():
    video, audio = torch.randn(2, 6, 8), torch.randn(2, 5, 4)
    for img in ((video, audio), [video, audio]):
        tokens = joined(img)
        assert tokens.shape == (2, 6 * 8 + 5 * 4, 1) and type(parted(tokens, img)) is type(img)
        assert all(map(torch.equal, parted(tokens, img), img))
    assert joined(video[0]).shape == (1, 6, 8) and torch.equal(parted(joined(video[0]), video[0]), video[0])
    assert joined(video) is video and parted(video, video) is video
    for img in (None, (video,), (video, audio[:1]), (video, "audio")):
        assert joined(img) is img
