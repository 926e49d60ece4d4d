"""Training on a workflow of a tiny model, and what ReCache makes of a policy."""

from __future__ import annotations

import copy
import gc
import json
import os
import re
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
from comfy.samplers import sampler_object
from comfy_extras.nodes_custom_sampler import BasicGuider, RandomNoise, SamplerCustomAdvanced
from nodes import ConditioningCombine, ConditioningSetTimestepRange, common_ksampler

from recache import caching
from recache.caching import Reason, mechanisms, model_identity, recording, sampler_nodes, workflow
from recache.caching.feature_kind import FeatureKind, feature_kind
from recache.caching.workflow import WorkflowError
from recache.nodes import budget, save_policy, train
from recache.nodes.library import folders, resolve
from recache.nodes.library.ranking import Target
from recache.nodes.server.wording import reason_text
from recache.nodes.training import objective, rollouts
from recache.nodes.training.describe import describe_training
from recache.nodes.training.request import Progress, Request, noises
from recache.nodes.training.starts import WEIGHT_POWERS, find_starts, recorded_starts
from recache.policies.defaults import default_mechanism, default_schedule
from recache.policies.learning import checkpoint
from recache.policies.learning.checkpoint import Checkpoint
from recache.policies.learning.environment import Environment, Memo
from recache.policies.metrics.distances import perceptual
from recache.policies.policy_file import PolicyFile, load, save
from recache.policies.power_law import power_law
from recache.policies.schedule import from_indices
from recache.policies.uniform import uniform
from tests.hosting.languages import OWN_SCRIPT
from tests.sampling import models, prompt
from tests.tiny.families import FAMILIES
from tests.tiny.training import REQUEST, N, Vae, flow, trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The checkpoint of the training `outcome`."""
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def outcome(finished):
    return trained(finished)


def test_references_are_what_the_stock_nodes_make():
    family, model = FAMILIES["flux"], models("flux")[0]
    positive, negative = family.conditioning()
    mask = torch.zeros(1, 1, *family.latent_shape[1:])
    mask[..., :4] = 1.0
    empty = {"samples": torch.zeros(1, *family.latent_shape)}
    image = family.latent(seed=5)
    for latent, denoise, cfg, sampler in ((empty, 1.0, 1.0, "euler"), (image, 0.6, 3.0, "dpmpp_2m"),
                                          ({**image, "noise_mask": mask}, 0.8, 1.0, "euler_ancestral")):
        expected = common_ksampler(
            model, 3, N, cfg, sampler, "normal", positive, negative, latent, denoise=denoise)[0]["samples"]
        run = sampler_nodes.ksampler(model, [(positive, negative)], N, cfg, sampler, "normal", denoise, latent, 3)
        assert torch.equal(run.reference(run.samples(1, 3)[0], lambda x, denoised, sigma: None), expected)
    sigmas = sampler_nodes.ksampler(model, [(positive, negative)], N, 1.0, "heun", "simple", 1.0, empty, 3).sigmas
    guider = BasicGuider.execute(model, positive).args[0]
    run = sampler_nodes.custom([guider], sampler_object("heun"), sigmas, empty, 3)
    expected = SamplerCustomAdvanced.execute(
        RandomNoise.execute(3).args[0], guider, sampler_object("heun"), sigmas, empty).args[0]["samples"]
    assert torch.equal(run.reference(run.samples(1, 3)[0], lambda x, denoised, sigma: None), expected)


def test_recorded_costs_are_the_squared_errors_of_forecasts_made_by_hand():
    for name, point in (("reuse", "output"), ("residual", "output"), ("residual", "blocks"), ("taylor", "blocks"),
                        ("hermite", "output"), ("l2p", "output")):
        run = flow()
        mechanism = mechanisms.make(name, gram=np.eye(N) + 1.0)
        evaluations = run.dry_run()
        kind = feature_kind(evaluations, mechanism, point)
        assert kind is (FeatureKind.RESIDUAL if (name, point) == ("residual", "output") else FeatureKind.DIRECTION)
        gram = recording.Recording(kind)
        values = []

        def record(x, denoised, sigma, gram=gram, values=values, kind=kind):
            gram(x, denoised, sigma)
            values.append((denoised - x if kind is FeatureKind.RESIDUAL else (x - denoised) / sigma).flatten().double())

        run.reference(run.samples(1, 3)[0], record)
        steps = recording.step_weights(evaluations.sigmas, 0.5, kind)
        place = evaluations.positions
        errors = recording.segment_errors(recording.Recorded(gram.gram(), place, mechanism))
        cost = recording.segment_costs(errors, steps)
        for i, j, m in ((0, 0, 4), (0, 3, 7), (2, 5, 6), (4, 9, 12), (5, 6, 12)):
            expected = 0.0
            for e in range(j + 1, m):
                past = [j] if i == j else [j, i]
                weights = mechanism.weights([place[p] for p in past[: mechanism.depth]], place[e])
                forecast = sum(w * values[p] for w, p in zip(weights, past))
                expected += steps[e] ** 2 * float((forecast - values[e]).square().mean())
            assert cost[i, j, m] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_the_summed_error_of_no_forecasts_is_zero_and_of_one_is_its_segment():
    run = flow()
    evaluations = run.dry_run()
    record = recording.Recording(FeatureKind.DIRECTION)
    run.reference(run.samples(1, 3)[0], record)
    weights = recording.step_weights(evaluations.sigmas, 1.0, FeatureKind.DIRECTION)
    recorded = recording.Recorded(record.gram(), evaluations.positions, mechanisms.make("taylor", 1))
    cost = recording.segment_costs(recording.segment_errors(recorded), weights)
    assert recording.summed_error(recorded, range(N), weights) == 0.0
    all_but_one = [i for i in range(N) if i != 6]
    assert recording.summed_error(recorded, all_but_one, weights) == pytest.approx(cost[4, 5, 7], rel=1e-6)


class Wanted(Environment):
    """Costs the number of evaluations in which a schedule differs from the wanted one."""

    n, samples = N, 2

    def __init__(self, wanted):
        self.wanted = wanted

    def cost(self, schedule, sample):
        return float(len(set(schedule.indices) ^ set(self.wanted[schedule.k].indices)))


@pytest.mark.parametrize("wanted", [default_schedule, partial(power_law, power=1.25)])
def test_what_learning_starts_from_wins_a_race_also_where_nothing_was_recorded(wanted):
    evaluations, ks = flow().dry_run(), [4, 5]
    memo = Memo(Wanted({k: wanted(N, k) for k in ks}))
    found = find_starts(ks, evaluations, np.zeros((0, 0)), FeatureKind.DIRECTION, mechanisms.make("taylor"), memo)
    assert set(found) == {"default", "start"}
    for k in ks:
        assert found["start"][k].computed == wanted(N, k).computed
        assert found["default"][k].computed == default_schedule(N, k).computed
        assert all(row[k].times == evaluations.times for row in found.values())


def test_recorded_errors_give_a_schedule_for_every_weighting():
    run, ks, made = flow(), [4, 6], mechanisms.make("taylor")
    record = recording.Recording(FeatureKind.DIRECTION)
    run.reference(run.samples(1, 3)[0], record)
    found = recorded_starts(ks, run.dry_run(), record.gram(), FeatureKind.DIRECTION, made)
    for k in ks:
        assert len(found[k]) == 2 * len(WEIGHT_POWERS) and {schedule.k for schedule in found[k]} == {k}


def test_a_policy_is_no_worse_than_its_starts_where_it_was_trained_and_chosen(outcome):
    for k, row in outcome.table.items():
        assert set(row) == {"learned", "default", "start", "fewer steps", "policy"}
        assert row["policy"] == row[outcome.learned.winners[k]] <= row["learned"]
        assert outcome.policy.policy.schedule(k).computed == outcome.learned.schedules[k].computed
    gains = [gain for _, gain in outcome.learned.curve]
    assert gains == sorted(gains) and gains[-1] > 0.1
    assert outcome.policy.about.cache_point == "output" and outcome.policy.about.mechanism_options == {"order": 1}
    assert outcome.evaluations["uncached"] == 4 * N and outcome.evaluations["rollouts"] >= 100
    assert sum(outcome.evaluations.values()) <= REQUEST.evaluations


@pytest.mark.parametrize("language", OWN_SCRIPT)
def test_every_line_is_in_the_artists_language(outcome, language):
    notes = [Reason("checkpoint_damaged", {"file": "costs"}), Reason("recomputed", {"count": 2, "gigabytes": 2})]
    lines = describe_training(replace(outcome, notes=notes), language).splitlines()
    assert len(lines) > 8 and [line for line in lines if not re.search(OWN_SCRIPT[language], line)] == []


def test_the_same_seed_gives_the_same_policy_and_another_prompt_another_training(outcome, tmp_path):
    again = trained(tmp_path / "again")
    assert again.learned.schedules == outcome.learned.schedules
    assert np.array_equal(again.policy.policy.logits, outcome.policy.policy.logits)
    several = trained(tmp_path / "several", replace(REQUEST, evaluations=20), flow(prompts=2))
    assert several.policy.about.training["samples"] == 4 and several.policy.about.training["prompts"] == 2


def test_a_finished_training_replays_without_the_network(finished, outcome, monkeypatch):
    runs = []
    sample = workflow.Workflow._sample
    monkeypatch.setattr(workflow.Workflow, "_sample", lambda self, *a: runs.append(a) or sample(self, *a))
    again = trained(finished)
    assert again.learned.schedules == outcome.learned.schedules
    assert again.evaluations == outcome.evaluations
    assert len(runs) == 1  # the run that checks whether the checkpoint is of this workflow


def test_a_checkpoint_of_another_workflow_or_a_damaged_one_is_not_used(outcome, tmp_path):
    trained(tmp_path, replace(REQUEST, evaluations=10), flow(seed=99))
    notes = []
    assert trained(tmp_path, notes=notes).learned.schedules == outcome.learned.schedules
    assert notes == [Reason("checkpoint_foreign")]
    (tmp_path / "costs.jsonl").write_text('[[0, 1], 0, 1.0]\nnonsense\n[[0, 2], 0, 1.0]\n')
    (tmp_path / "reference-0.safetensors").write_bytes(b"\0" * 50)
    notes = []
    assert trained(tmp_path, notes=notes).learned.schedules == outcome.learned.schedules
    assert [note.code for note in notes] == ["checkpoint_damaged"] * 2


def test_a_damaged_line_loses_only_what_follows_it(tmp_path):
    lines = b'[[0, 1], 0, 1.0]\n[[0, 2], 0, 2.0]\n[[0, 3]\x00 0, 3.0]\n[[0, 4], 0, 4.0]\n[[0, 5], 0'
    (tmp_path / "costs.jsonl").write_bytes(lines)
    notes = []
    memo = Checkpoint(tmp_path, lambda code, **fields: notes.append(code)).memo(Unasked(), "costs")
    assert [memo.has(from_indices((0, i), 6), 0) for i in (1, 2, 3, 4, 5)] == [True, True, False, False, False]
    assert notes == ["checkpoint_damaged"]
    assert (tmp_path / "costs.jsonl").read_bytes() == b"".join(lines.splitlines(keepends=True)[:2])


class Unasked(Environment):
    """An environment that must not be asked for a cost."""

    n, samples = 6, 1


def test_a_training_goes_on_where_its_checkpoint_can_not_be_written(outcome, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    notes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        patch.setattr(Path, "open", full)
        assert trained(tmp_path / "folder", notes=notes).learned.schedules == outcome.learned.schedules
    assert [note.code for note in notes] == ["checkpoint_unwritable"]
    assert str(tmp_path / "folder") in reason_text(notes[0]) and list((tmp_path / "folder").iterdir()) == []


def die_in_call(number: int, function=lambda *args: None):
    """`function`, but its call `number` (from 1) ends the process as a power cut would."""
    calls = []

    def dying(*args):
        calls.append(0)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)

    return dying


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_killed_at_any_moment_training_goes_on_and_no_policy_is_half_written(outcome, tmp_path):
    checkpoint, policies = tmp_path / "checkpoint", tmp_path / "policies"
    costs, policy = checkpoint / "costs.jsonl", policies / "policy.safetensors"
    torch.set_num_threads(1)  # a forked process has no worker threads

    def train_and_save(moment: str, number: int) -> None:
        if moment == "storing":
            os.fsync = die_in_call(number, os.fsync)
        notes, die = [], die_in_call(number if moment == "rollout" else 0)

        def on_rollout(*_):
            if notes:  # something that was stored can't be used
                os._exit(1)
            die()

        result = trained(checkpoint, progress=Progress(on_rollout=on_rollout), notes=notes)
        if moment == "saving":
            os.fsync = die_in_call(number, os.fsync)
        for _ in range(2):
            save(policy, result.policy)

    stored, saved = 0, []
    for moment, number in (("storing", 2), ("rollout", 2), ("rollout", 60), ("saving", 1), ("saving", 2)):
        child = os.fork()
        if child == 0:
            try:
                train_and_save(moment, number)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), (moment, number)
        lines = costs.read_text().splitlines() if costs.exists() else []
        assert len(lines) >= stored and all(json.loads(line) for line in lines)
        stored = len(lines)
        if moment == "rollout":
            with costs.open("a") as file:
                file.write("[[0, 3")  # a line that was only half on the disk
        saved.append(policy.exists() and load("policy.safetensors", policies).policy.budgets)
    assert stored > 20 and saved == [False] * 4 + [tuple(outcome.learned.schedules)]
    notes = []
    final = trained(checkpoint, notes=notes)
    assert final.learned.schedules == outcome.learned.schedules and notes == []


def test_references_are_used_if_they_are_of_this_workflow(outcome, tmp_path):
    family = FAMILIES["flux"]
    made = common_ksampler(
        models("flux")[0], 3, N, 1.0, "euler", "simple", *family.conditioning(),
        {"samples": torch.zeros(3, *family.latent_shape)})[0]["samples"]
    result = trained(tmp_path / "given", replace(REQUEST, samples=3, evaluations=60), references=made)
    assert result.learned.schedules.keys() == outcome.learned.schedules.keys()
    assert result.evaluations["uncached"] == outcome.evaluations["uncached"]  # one of three was not made again
    with pytest.raises(WorkflowError, match="reference 0 is not what this workflow makes without a cache"):
        trained(tmp_path / "other", references=torch.randn_like(made[:2]))
    with pytest.raises(WorkflowError, match="reference 0 has the size"):
        trained(tmp_path / "size", references=made[:2, ..., :4])
    with pytest.raises(WorkflowError, match="raise samples"):
        trained(tmp_path / "many", references=made)


def test_cancelling_keeps_what_was_computed_and_stopping_keeps_the_best(outcome, tmp_path):
    asked = []

    def cancel(evaluations, gains, curve, n):
        asked.append(evaluations)
        if len(asked) == 20:
            comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        trained(tmp_path, progress=Progress(on_rollout=cancel))
    comfy.model_management.interrupt_current_processing(False)
    lines = (tmp_path / "costs.jsonl").read_text().splitlines()
    assert len(lines) >= 10
    assert trained(tmp_path).learned.schedules == outcome.learned.schedules

    calls = []
    stopped = trained(tmp_path / "stop", progress=Progress(stopped=lambda: calls.append(1) or len(calls) > 5))
    assert stopped.learned.evaluations < 100 and set(stopped.learned.schedules) == set(outcome.learned.schedules)


@pytest.mark.parametrize("name, mechanism", [("wan21_t2v", "hermite"), ("sd15", "reuse"), ("flux", "dicache")])
def test_other_families_and_mechanisms_train(name, mechanism, tmp_path):
    request = Request((0.7,), 1, 1, mechanism, 1, "auto", evaluations=30)
    result = trained(tmp_path, request, flow(name, cfg=2.0))
    (k,) = result.learned.schedules
    assert 1 < k < N and result.policy.about.mechanism == mechanism


def test_rollouts_keep_no_tensors():
    run = flow()
    samples = run.samples(1, 3)
    seen = [run.reference(samples[0], lambda x, denoised, sigma: None)]
    environment = rollouts.Rollouts(run, N, samples, seen, objective.Objective(), "taylor", 2, "blocks")

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    environment.cost(uniform(N, 6), 0)
    before = tensors()
    for k in (3, 4, 6, 7, 8):
        environment.cost(uniform(N, k), 0)
    assert tensors() <= before


def test_a_run_whose_prompts_change_says_how_to_train(tmp_path):
    until = ConditioningSetTimestepRange().set_range(prompt("flux", 1), 0.0, 0.5)[0]
    since = ConditioningSetTimestepRange().set_range(prompt("flux", 3), 0.5, 1.0)[0]
    prompts = ConditioningCombine().combine(until, since)[0], prompt("flux", 2)
    run = sampler_nodes.ksampler(models("flux")[0], [prompts], N, 1.0, "euler", "simple", 1.0,
                            {"samples": torch.zeros(1, *FAMILIES["flux"].latent_shape)}, 3)
    with pytest.raises(WorkflowError) as error:
        trained(tmp_path, workflow=run)
    assert error.value.reasons == (Reason("changes_mid_run"),)


def test_what_cannot_be_trained_on_is_said(tmp_path):
    family = FAMILIES["flux"]

    def adaptive():
        return sampler_nodes.ksampler(models("flux")[0], [family.conditioning()], N, 1.0, "dpm_adaptive", "simple", 1.0,
                                 {"samples": torch.zeros(1, *family.latent_shape)}, 0)

    with pytest.raises(WorkflowError, match="sampler_adaptive"):
        trained(tmp_path, workflow=adaptive())
    with pytest.raises(WorkflowError, match="nothing to learn"):
        trained(tmp_path, replace(REQUEST, budgets=(1.0,)))
    with pytest.raises(WorkflowError, match="connect the VAE"):
        objective.make("ssim")


def test_a_vae_is_for_choosing_by_pictures_and_learning_stays_the_same(tmp_path, outcome):
    vae = Vae()
    chosen = trained(tmp_path, vae=vae)
    about, before = chosen.policy.about, outcome.policy.about
    assert (about.training["learned by"], about.reward) == ("latent RMSE", f"root of {perceptual()[1]}")
    assert before.training["learned by"] == before.reward == "latent RMSE"
    assert chosen.learned.curve == outcome.learned.curve
    assert chosen.evaluations["rollouts"] == outcome.evaluations["rollouts"]
    for k, row in chosen.table.items():
        assert row.keys() == outcome.table[k].keys() and row != outcome.table[k]
        assert row["policy"] == row[chosen.learned.winners[k]] <= row["learned"]
    rows = [row.keys() - {"fewer steps", "policy"} for row in chosen.table.values()]
    assert vae.made <= REQUEST.held_out * (1 + len(rows) + sum(map(len, rows)))  # no picture of a training rollout


def test_pictures_are_compared_and_good_ones_rewarded():
    objectives, notes = objective.make("ssim", Vae())
    similar = objectives.learn
    assert similar is objectives.choose
    latent = torch.randn(1, 16, 4, 4)
    seen = similar.decode(latent)
    assert notes == [] and seen.shape == (1, 32, 32, 3)
    assert similar.cost(seen, seen) == pytest.approx(0.0, abs=1e-3)
    assert similar.cost(similar.decode(torch.randn(1, 16, 4, 4)), seen) > 0.1

    class Vision:
        def encode_image(self, pictures):
            return {"image_embeds": pictures.mean((1, 2))}

    class Clip:
        def tokenize(self, text):
            return text

        def encode_from_tokens(self, text, return_pooled):
            return None, torch.tensor([[1.0, 0.0, 0.0] if text == "red" else [0.0, 0.0, 1.0]])

    objectives, _ = objective.make("auto", Vae(), "clip prompt", 0.5, Vision(), Clip(), "red")
    rewarded = objectives.learn
    assert rewarded is objectives.choose
    red = torch.zeros(1, 16, 16, 3)
    red[..., 0] = 1.0
    blue = red.flip(-1)
    assert rewarded.cost(red, red) == pytest.approx(-0.5) and rewarded.cost(blue, blue) == pytest.approx(0.0)
    with pytest.raises(WorkflowError, match="connect the video model's VAE"):
        similar.decode(torch.randn(1, 16, 3, 4, 4))


def test_equal_things_have_equal_fingerprints_and_others_have_not():
    conditioning = FAMILIES["flux"].conditioning()
    model = models("flux")[0]
    same = FAMILIES["flux"].conditioning()
    assert model_identity.fingerprint(model_identity.contents(model), conditioning) == model_identity.fingerprint(
        model_identity.contents(model.clone()), same)
    assert model_identity.fingerprint(conditioning) != model_identity.fingerprint(FAMILIES["flux"].conditioning(1))
    patched = model.clone()
    patched.add_patches({"diffusion_model.img_in.weight": ("diff", (torch.ones(128, 64),))}, 0.5)
    fingerprints = [model_identity.fingerprint(model_identity.contents(each)) for each in (model, patched)]
    assert fingerprints[0] != fingerprints[1]
    network = model.model.diffusion_model
    layout = model_identity.layout(network)
    assert layout == model_identity.layout(copy.deepcopy(network).half())
    assert layout != model_identity.layout(models("flux_schnell")[0].model.diffusion_model)


# ---- the nodes


def ask(**options) -> dict:
    return {"budgets": "0.3, 0.5", "samples": 1, "evaluations": 100, "minutes": 0.0, "mechanism": "taylor", "order": 1,
            "cache_point": "output", "distance": "auto", "reward": "none", "alpha": 0.1, **options}


def test_train_nodes_give_policy_picture_and_text(node):
    family = FAMILIES["flux"]
    model, (positive, negative) = models("flux")[0], family.conditioning()
    latent = {"samples": torch.zeros(1, *family.latent_shape)}
    sampled = {"model": model, "positive": positive, "negative": negative, "latent_image": latent, "seed": 3,
               "steps": N, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    result = train.ReCacheTrain.execute(**sampled, **ask())
    policy, picture, text = result.args
    assert policy.about.sampler == "euler" and policy.about.size == [96, 64] and policy.about.steps == N
    assert picture.ndim == 4 and picture.shape[-1] == 3 and "on samples that were not trained on" in text

    guider = BasicGuider.execute(model, positive).args[0]
    sigmas = sampler_nodes.ksampler(model, [(positive, negative)], N, 1.0, "euler", "simple", 1.0, latent, 3).sigmas
    more = train.ReCacheTrainingPrompt.execute(*family.conditioning(5)).args[0]
    custom = train.ReCacheTrainCustom.execute(
        guider=guider, sampler=sampler_object("euler"), sigmas=sigmas, latent_image=latent, seed=3, prompts=more,
        **ask()).args[0]
    assert custom.policy.times == policy.policy.times and custom.about.training["prompts"] == 2
    with pytest.raises(ValueError, match=r"^ReCache Train: '0, 2' are no budgets"):
        train.ReCacheTrain.execute(**sampled, **ask(budgets="0, 2"))


def test_half_as_many_samples_are_held_out_and_a_quick_training_takes_two():
    assert [noises(1, 4, False), noises(8, 2, False), noises(3, 1, False)] == [(4, 4), (2, 8), (1, 4)]
    assert [noises(1, 9, True), noises(2, 9, True)] == [(2, 2), (1, 2)]
    run = flow(prompts=2)
    assert run.in_turn(3, 4) == [0, 4, 1] and [run.samples(4, 5)[i].guider for i in run.in_turn(3, 4)] == [0, 1, 0]


def test_a_checkpoint_knows_samples_by_their_numbers(tmp_path):
    class Numbered(Environment):
        def __init__(self, samples, least):
            self.n, self.samples, self.least = 6, samples, least

        def cost(self, schedule, sample):
            return self.least + sample

    schedule = uniform(6, 3)
    before = Checkpoint(tmp_path).memo(Numbered(8, 10.0), "c")
    assert before.cost(schedule, 4) == 14.0
    memo = Checkpoint(tmp_path).memo(Numbered(2, 0.0), "c", [0, 4])
    assert [memo.cost(schedule, 0), memo.cost(schedule, 1)] == [0.0, 14.0]
    assert [json.loads(line)[1] for line in (tmp_path / "c.jsonl").read_text().splitlines()] == [4, 0]


def test_quick_trains_the_default_mechanism_on_two_prompts_without_a_race(node, monkeypatch):
    monkeypatch.setattr(train, "QUICK_EVALUATIONS", 250)  # a search takes what it gets
    family = FAMILIES["flux"]
    positive, negative = family.conditioning()
    prompts = train.ReCacheTrainingPrompt.execute(*family.conditioning(5)).args[0]
    prompts = train.ReCacheTrainingPrompt.execute(*family.conditioning(6), previous=prompts).args[0]
    policy, _, text = train.ReCacheTrain.execute(
        model=models("flux")[0], positive=positive, negative=negative, seed=3, steps=N, cfg=1.0, sampler_name="euler",
        latent_image={"samples": torch.zeros(1, *family.latent_shape)}, scheduler="simple", denoise=1.0,
        prompts=prompts, quick=True, **ask(mechanism="auto", samples=5)).args
    training = policy.about.training
    assert (training["samples"], training["prompts"], training["held-out samples"]) == (2, 2, 2)
    assert (policy.about.mechanism, "was chosen of" in text) == (default_mechanism(N, 6)[0], False)
    assert training["evaluations"] <= 250


def test_a_run_of_six_steps_is_trained_by_trying_every_schedule(node, tmp_path):
    family = FAMILIES["flux"]
    positive, negative = family.conditioning()
    policy, _, text = train.ReCacheTrain.execute(
        model=models("flux")[0], positive=positive, negative=negative, seed=3, steps=6, cfg=1.0, sampler_name="euler",
        latent_image={"samples": torch.zeros(1, *family.latent_shape)}, scheduler="simple", denoise=1.0,
        **ask(budgets="0.5, 0.7, 0.9", samples=2, evaluations=600)).args
    [costs] = tmp_path.rglob("costs.jsonl")
    found = {}
    for line in costs.read_text().splitlines():
        indices, sample, cost = json.loads(line)
        found.setdefault(tuple(indices), {})[sample] = cost
    assert len(found) == 10 + 10 + 5 and all(set(row) == {0, 1} for row in found.values())  # every k of 6, two samples
    for k in (3, 4, 5):
        best = min((sum(row.values()), indices) for indices, row in found.items() if len(indices) == k)[1]
        lines = text.splitlines()
        [place] = (i for i, line in enumerate(lines) if line.startswith(f"{k} of 6: "))
        learned = lines[place].startswith(f"{k} of 6: learned")
        assert not learned or lines[place + 1].endswith(f": {', '.join(map(str, best))}")
        assert len(policy.policy.schedule(k).indices) == k
    assert "of 6: learned" in text


@pytest.fixture
def policy_file(outcome) -> PolicyFile:
    layout = model_identity.layout(models("flux")[0].model.diffusion_model)
    about = replace(outcome.policy.about, name="mine", model_identity={"layout": layout}, size=[96, 64])
    return replace(outcome.policy, about=about)


@pytest.fixture
def recache_folder(models_dir, monkeypatch, tmp_path):
    folder = tmp_path / "recache"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "recache", ([str(folder)], {".safetensors"}))
    monkeypatch.setattr(folders, "policies_folder", lambda: folder)
    return folder


def run_with(model, *, steps: int = N, sampler: str = "euler", scheduler: str = "simple", denoise: float = 1.0,
             cfg: float = 1.0, name: str = "flux") -> caching.Report:
    family = FAMILIES[name]
    common_ksampler(model, 3, steps, cfg, sampler, scheduler, *family.conditioning(),
                    {"samples": torch.zeros(1, *family.latent_shape)}, denoise=denoise)
    return caching.reports_of(caching.config_of(model).identity)[-1]


def test_budget_keeps_its_count_with_a_policy_for_every_k_step_count_and_scheduler(node, policy_file, recache_folder):
    model = models("flux")[0]
    for k in range(1, N + 1):
        made = budget.ReCacheBudget.execute(model, k / N, "auto", cache_point="output", trained=policy_file).args[0]
        report = run_with(made)
        assert len(report.computed) == k and report.computed == report.planned and not report.unplanned
        if k < N:
            assert report.notes == [Reason("policy_fitted", {"name": "mine"})]
    scheduler = ("differs_scheduler", {"scheduler": "simple"})
    for options, (code, fields) in (
            ({"steps": 20}, ("differs_evaluations", {"n": 12})), ({"scheduler": "beta"}, scheduler),
            ({"sampler": "heun", "steps": 8}, ("differs_sampler", {"sampler": "euler"})), ({"denoise": 0.6}, scheduler),
            ({"cfg": 2.0}, ("differs_cfg", {"cfg": "1"}))):
        made = budget.ReCacheBudget.execute(model, 0.4, "uniform", cache_point="output", trained=policy_file).args[0]
        report = run_with(made, **options)
        assert len(report.computed) == int(0.4 * report.evaluations + 1e-6) and not report.unplanned
        [note] = report.notes
        assert note.code == "policy_carried" and Reason(code, fields) in note.fields["differs"]


def test_a_policy_that_replaces_another_of_its_name_says_so(policy_file, recache_folder):
    def saved(file, name):
        return save_policy.ReCacheSavePolicy.execute(file, name).ui["recache_saved"][0]["replaced"]

    assert [saved(policy_file, "mine"), saved(policy_file, "mine"), saved(policy_file, "other")] == [False] * 3
    assert saved(replace(policy_file, about=replace(policy_file.about, cfg=9.0)), "mine")


def saved_for_auto(file: PolicyFile, name: str, gain: float, notes: str = "") -> str | None:
    """Saves a policy that was found to save this part of the default error; returns whose place it takes for "auto"."""
    table = {k: {"learned": 1.0 - gain, "default": 1.0} for k in file.policy.budgets}
    made = save_policy.ReCacheSavePolicy.execute(replace(file, validation=table), name, notes)
    return made.ui["recache_saved"][0]["instead_of"]


def test_auto_takes_the_policy_that_fits_the_model_best(node, policy_file, recache_folder):
    model, other = models("flux")[0], models("flux_schnell")[0]
    layout = model_identity.layout(model.model.diffusion_model)
    taylor, hermite = Target("taylor", 1, "auto", 0.3), Target("hermite", 1, "output", 0.3)
    assert resolve.best_for(layout, taylor) is None
    assert saved_for_auto(policy_file, "0 useless", 0.0) is None and resolve.best_for(layout, taylor) is None
    assert saved_for_auto(policy_file, "b mine", 0.2) is None
    as_hermite = replace(policy_file, about=replace(policy_file.about, mechanism="hermite"))
    assert saved_for_auto(as_hermite, "a/hermite.safetensors", 0.1, "from a test") == "b mine"
    assert folders.policy_names() == ["0 useless.safetensors", "a/hermite.safetensors", "b mine.safetensors"]
    assert resolve.best_for(layout, taylor).about.name == "b mine"
    found = resolve.best_for(layout, hermite)
    assert found.about.name == "a/hermite" and found.about.notes == "from a test"
    assert saved_for_auto(policy_file, "a worse one", 0.1) is None, "the better one stays"
    assert saved_for_auto(policy_file, "c better", 0.3) == "b mine"
    assert saved_for_auto(policy_file, "c better", 0.3) is None, "the file itself was replaced"
    assert resolve.best_for(layout, taylor).about.name == "c better"
    assert resolve.best_for(model_identity.layout(other.model.diffusion_model), taylor) is None
    report = run_with(budget.ReCacheBudget.execute(other, 0.5, "b mine.safetensors").args[0], name="flux_schnell")
    assert Reason("differs_model", {"family": "Flux"}) in report.notes[0].fields["differs"]
    assert report.computed == report.planned
    (recache_folder / "c.safetensors").write_bytes(b"no policy")
    assert resolve.best_for(layout, taylor).about.name == "c better"
    schema = budget.ReCacheBudget.define_schema()
    assert "c.safetensors" in next(i for i in schema.inputs if i.id == "policy").options


def test_a_bad_policy_is_one_sentence_that_names_node_and_file(node, recache_folder, policy_file):
    recache_folder.mkdir()
    (recache_folder / "bad.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ValueError, match=r"^ReCache: The policy 'bad\.safetensors") as error:
        budget.ReCacheBudget.execute(models("flux")[0], 0.5, "bad.safetensors")
    assert "\n" not in str(error.value)
    before = budget.ReCacheBudget.fingerprint_inputs(policy="bad.safetensors")
    save_policy.ReCacheSavePolicy.execute(policy_file, "bad")
    assert budget.ReCacheBudget.fingerprint_inputs(policy="bad.safetensors") != before


@pytest.mark.parametrize("name", ["", "..", "../out", "/etc/x", "a/../../x"])
def test_policies_are_saved_only_in_their_folder(name, policy_file, recache_folder):
    with pytest.raises(ValueError, match=r"^ReCache Save Policy: "):
        save_policy.ReCacheSavePolicy.execute(policy_file, name)
    assert not list(recache_folder.parent.rglob("*.safetensors"))
