"""L2P: a mechanism that comes with a policy, from ReCache Train to the runs that use it."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch
from nodes import UNETLoader, common_ksampler

from recache import caching
from recache.caching import AUTO, mechanisms, sampler_nodes, workflow
from recache.caching.evaluations import Evaluations
from recache.caching.feature_kind import FeatureKind
from recache.caching.recording import Recording
from recache.nodes import budget, frontier, train
from recache.nodes.library.choice import RunChoice
from recache.nodes.training import contest
from recache.policies.defaults import default_mechanism
from recache.policies.policy import from_schedules
from recache.policies.policy_file import About, PolicyFile, load, save
from recache.policies.schedule import from_indices
from tests.bench import rival_mechanisms
from tests.host_nodes.nodes import TextEncode
from tests.hosting.prompts import install_models, sampling
from tests.hosting.server import emptied
from tests.sampling import models
from tests.tiny.families import FAMILIES
from tests.tiny.training import ABOUT, REQUEST, N, flow, trained

pytestmark = pytest.mark.usefixtures("host")
AUTO_REQUEST = replace(REQUEST, mechanism=AUTO, evaluations=400)  # that all race


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("l2p")


@pytest.fixture
def last_wins(monkeypatch):
    """L2P, the last candidate, wins every race, and nothing contends with it."""
    monkeypatch.setattr(contest, "race", lambda candidates, k, should_stop: candidates[-1:])


@pytest.fixture(scope="module")
def file(folder):
    """A policy from ReCache Train whose mechanism is L2P, saved and loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "race", lambda candidates, k, should_stop: candidates[-1:])
        made = trained(folder / "training", AUTO_REQUEST).policy
    save(folder / "l2p.safetensors", made)
    return load("l2p.safetensors", folder)


def recorded(run: workflow.Workflow, samples: int = 1) -> np.ndarray:
    """Mean inner products of directions, each run recorded apart from the pack's training."""
    grams = []
    for sample in run.samples(samples, run.seed):
        rows = []
        run.reference(sample, lambda x, denoised, sigma, rows=rows: rows.append(
            ((x - denoised) / sigma).flatten().double().numpy()))
        grams.append(np.stack(rows) @ np.stack(rows).T / len(rows[0]))
    return np.mean(grams, 0)


def by_hand(gram: np.ndarray):
    """The formula of the paper, for rival_mechanisms.attach."""
    def weights(computed, now):
        past = [i for i in computed if i < now][-3:]
        known = gram[np.ix_(past, past)]
        ridge = 1e-5 * np.trace(known) / len(past)
        return dict(zip(past, np.linalg.inv(known + ridge * np.eye(len(past))) @ gram[past, now]))

    return weights


def test_the_weights_have_the_least_squared_error_on_what_was_recorded():
    rows = np.random.default_rng(0).normal(size=(6, 40))
    gram = rows @ rows.T / 40
    for past in ([3, 1], [4, 3, 0], [2]):
        best, *_ = np.linalg.lstsq(rows[past].T, rows[5], rcond=None)
        assert mechanisms.L2P(gram, rho=0.0).weights(past, 5) == pytest.approx(best.tolist())
        assert mechanisms.L2P(gram).weights(past, 5) == pytest.approx(best.tolist(), abs=1e-4)


def test_predictions_that_do_not_change_are_repeated():
    weights = mechanisms.make("l2p", gram=np.ones((5, 5))).weights([3, 2, 0], 4)
    assert weights == pytest.approx([1 / 3] * 3, abs=1e-4)


def test_of_several_evaluations_at_one_time_the_last_is_recorded():
    gram = np.arange(25.0).reshape(5, 5)
    heun = Evaluations(sigmas=(1.0, 0.6, 0.6, 0.2, 0.2), times=(1.0, 0.6, 0.6, 0.2, 0.2))
    assert heun.gram_of_positions(gram).tolist() == gram[np.ix_([0, 2, 4], [0, 2, 4])].tolist()
    assert heun.gram_of_positions(None) is None and heun.levels == (1.0, 0.6, 0.2, 0.0)


@pytest.mark.usefixtures("node")
def test_without_recorded_runs_it_is_refused_in_a_sentence():
    for make in (mechanisms.make, lambda name: caching.CacheConfig(mechanism=name)):
        with pytest.raises(ValueError, match=r"^The mechanism l2p comes with a policy .* choose auto instead\.$"):
            make("l2p")
    with pytest.raises(ValueError, match=r"^ReCache: The mechanism l2p comes with a policy"):
        budget.ReCacheBudget.execute(models("flux")[0], 0.5, "auto", mechanism="l2p")
    offered = [each for node in (budget.ReCacheBudget, train.ReCacheTrain, frontier.ReCacheFrontier)
               for each in node.define_schema().inputs if each.id == "mechanism"]
    assert len(offered) == 3 and not any("l2p" in each.options for each in offered)


def test_a_training_keeps_the_inner_products_with_the_policy(file):
    about = file.about
    assert (about.mechanism, about.mechanism_options, about.cache_point) == ("l2p", {}, "output")
    assert about.training["mechanisms tried"].endswith(", l2p")
    np.testing.assert_allclose(file.gram, recorded(flow(), REQUEST.samples), rtol=1e-5)


def test_a_training_is_resumed_without_the_network(folder, file, last_wins, monkeypatch):
    runs, sample = [], workflow.Workflow._sample
    monkeypatch.setattr(workflow.Workflow, "_sample", lambda self, *a: runs.append(a) or sample(self, *a))
    again = trained(folder / "training", AUTO_REQUEST).policy
    np.testing.assert_array_equal(again.gram, file.gram)
    assert again.policy.schedules == file.policy.schedules and len(runs) == 1  # the probe


def test_it_does_not_race_where_features_are_of_blocks(tmp_path, last_wins):
    request = replace(AUTO_REQUEST, budgets=(0.5,), held_out=1, cache_point="blocks", evaluations=250)
    made = trained(tmp_path, request).policy
    assert made.gram is None and "l2p" not in {made.about.mechanism, *(name for name, _ in made.mechanisms.values())}
    assert made.about.training["mechanisms tried"] == "taylor 1, hermite 1, meancache, reuse"  # all others


def run(model, steps: int = N, sampler: str = "euler", scheduler: str = "simple", cfg: float = 1.0) -> torch.Tensor:
    family = FAMILIES["flux"]
    with torch.inference_mode():
        return common_ksampler(model, 5, steps, cfg, sampler, scheduler, *family.conditioning(),
                               {"samples": torch.zeros(1, *family.latent_shape)})[0]["samples"]


@pytest.mark.parametrize("cfg, cache_point", [(1.0, "auto"), (3.0, "blocks")])
def test_a_run_forecasts_by_the_formula_at_the_output(file, cfg, cache_point):
    model = budget.ReCacheBudget.execute(
        models("flux")[0], 0.5, "auto", mechanism=AUTO, cache_point=cache_point, trained=file).args[0]
    found = run(model, cfg=cfg)
    report = caching.reports_of(caching.config_of(model).identity)[-1]
    assert (report.mechanism, report.order, report.cache_point) == ("l2p", None, "output")
    assert report.cache_point_reason.code == "output_recorded" and not report.unplanned
    assert report.computed == list(file.policy.schedule(6).indices)
    assert "mechanism_replaced" not in {note.code for note in report.notes}
    rival = rival_mechanisms.attach(models("flux")[0], report.computed, by_hand(file.gram))
    torch.testing.assert_close(found, run(rival, cfg=cfg), rtol=1e-4, atol=1e-4)
    assert (found - run(models("flux")[0], cfg=cfg)).abs().max() > 1e-3  # which is not the uncached run


@pytest.mark.parametrize("other", [{"steps": 11}, {"steps": 13}, {"sampler": "dpmpp_2m"}, {"scheduler": "beta"}])
def test_runs_unlike_the_recorded_ones_use_the_default_mechanism_and_say_so(file, other):
    model = budget.ReCacheBudget.execute(models("flux")[0], 0.5, "auto", mechanism=AUTO, trained=file).args[0]
    run(model, **other)
    report = caching.reports_of(caching.config_of(model).identity)[-1]
    n, k = report.evaluations, len(report.computed)
    assert report.mechanism == default_mechanism(n, k)[0] and k < n
    assert caching.Reason("mechanism_replaced", {"mechanism": "l2p", "instead": report.mechanism}) in report.notes


def test_an_artists_own_choice_of_mechanism_goes_before_the_policys(file):
    choice = RunChoice(0.5, file, mechanism="hermite", order=2)
    assert choice.mechanism_for(file.policy.times) == ("hermite", 2) and choice.remark(file.policy.times) is None
    without = RunChoice(0.5, replace(file, gram=None), mechanism=AUTO)
    assert without.mechanism_for(file.policy.times) == default_mechanism(N, 6)
    assert without.remark(file.policy.times).code == "mechanism_replaced"
    assert RunChoice(0.5, file, mechanism=AUTO).mechanism_for(()) == default_mechanism(0, 0)


def test_it_comes_with_a_workflow_and_runs_in_a_prompt(client, server, models_dir):
    for folder in (server.models, models_dir):
        install_models(folder)
    prompt = TextEncode.execute("a dog", "flux").args[0]
    like = sampler_nodes.ksampler(UNETLoader().load_unet("demo_flux.safetensors", "default")[0], [(prompt, prompt)], 6,
                                  1.0, "euler", "simple", 1.0, {"samples": torch.zeros(1, 16, 8, 8)}, 3)
    made = PolicyFile(
        from_schedules({3: from_indices((0, 2, 5), 6, like.dry_run().times)}),
        About(**{**vars(ABOUT), "name": "theirs", "mechanism": "l2p", "cache_point": "output", "steps": 6}),
        gram=recorded(like))
    with emptied(server.models / "recache") as policies:
        save(policies / "made.safetensors", made)
        given = client.get("/recache/policy", file="made.safetensors")
        assert base64.b64decode(given["data"]) == (policies / "made.safetensors").read_bytes()
        assert client.post("/recache/policy", given | {"file": "theirs.safetensors"})["new"]
        prompt = sampling("theirs.safetensors", mechanism=AUTO)
        said = client.run(prompt).check().outputs["10"]["text"][0]
        assert "l2p, cached at output: Its weights were fitted" in said and "this run uses" not in said
        prompt["9"]["inputs"]["steps"] = 7
        said = client.run(prompt).check().outputs["10"]["text"][0]
        assert "reuse, cached at output" in said and "The policy's mechanism, l2p, works only with" in said
    assert not server.complaints()


def test_directions_are_recorded_as_the_mechanism_forecasts_them():
    run_of, record = flow(), Recording(FeatureKind.DIRECTION)
    run_of.reference(run_of.samples(1, run_of.seed)[0], record)
    np.testing.assert_allclose(record.gram(), recorded(flow()), rtol=1e-5)
