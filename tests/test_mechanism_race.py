"""ReCache Train's mechanism `auto`: candidates race, and the winner is trained and kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from recache.caching import AUTO, CacheConfig, mechanisms, sampler_nodes, workflow
from recache.nodes import train
from recache.nodes.library.choice import RunChoice
from recache.nodes.library.ranking import Target, differences
from recache.nodes.training import contest
from recache.nodes.training.describe import mechanisms_text
from recache.nodes.training.mechanism_race import CANDIDATES, Candidate, entrants, label, race
from recache.nodes.training.request import Progress
from recache.nodes.training.samples import HELD_OUT_SEED
from recache.policies.defaults import default_mechanism
from recache.policies.learning.environment import Environment, Memo
from recache.policies.learning.racing import entries_run
from recache.policies.metrics.metric import LATENT_RMSE
from recache.policies.policy_file import load, save
from recache.policies.schedule import from_indices
from tests.sampling import models
from tests.tiny.families import FAMILIES
from tests.tiny.training import REQUEST, N, flow, trained

AUTO_REQUEST = replace(REQUEST, mechanism=AUTO, evaluations=400)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The checkpoint of the training `outcome`."""
    return tmp_path_factory.mktemp("race")


@pytest.fixture(scope="module")
def outcome(finished):
    return trained(finished, AUTO_REQUEST)


class Costs(Environment):
    """An environment with one cost a schedule and sample."""

    n = 6

    def __init__(self, *costs: float):
        self.costs, self.samples = costs, len(costs)

    def cost(self, schedule, sample):
        return self.costs[sample] * (1.0 if schedule.k == 2 else 0.01)


def candidate(*costs: float) -> Candidate:
    return Candidate(("taylor", 1), Memo(Costs(*costs)),
                     {2: [from_indices((0, 3), 6)], 4: [from_indices((0, 1, 3, 5), 6)]})


def test_the_candidate_with_the_least_cost_wins_and_the_others_stop_early():
    entries = [candidate(*[1.0] * 16), candidate(*[0.5] * 16), candidate(*[0.7] * 16), candidate(*[2.0] * 16)]
    assert race(entries, 2) == [entries[i] for i in (1, 2, 0, 3)]
    assert [entry.memo.rollouts for entry in entries] == [2, 4, 4, 2]  # two samples for all, then four


@pytest.mark.parametrize("asked, order, rollouts", [
    (0, (0, 1, 2, 3), 0), (4, (0, 1, 2, 3), 6), (5, (1, 2, 0, 3), 8), (7, (1, 2, 0, 3), 10)])
def test_a_race_that_is_stopped_ends_as_it_stands_after_the_last_whole_round(asked, order, rollouts):
    entries = [candidate(*[cost] * 16) for cost in (1.0, 0.5, 0.7, 2.0)]
    calls = iter([False] * asked + [True] * 100)
    assert race(entries, 2, lambda: next(calls)) == [entries[i] for i in order]
    assert sum(entry.memo.rollouts for entry in entries) == rollouts


def test_every_k_has_a_race_of_its_own():
    class Mixed(Costs):
        def cost(self, schedule, sample):
            return self.costs[0] if schedule.k == 2 else self.costs[1]

    first, second = candidate(1.0, 1.0), candidate(1.0, 1.0)
    first = replace(first, memo=Memo(Mixed(1.0, 0.001)))
    second = replace(second, memo=Memo(Mixed(1.1, 0.0001)))
    assert race([first, second], 2) == [first, second] and race([first, second], 4) == [second, first]


def test_who_races_at_how_many_computed_evaluations():
    default = ("hermite", 1)
    assert entrants(AUTO_REQUEST, 3, default) == [e for e in CANDIDATES if e != ("taylor", 2)]
    assert entrants(AUTO_REQUEST, 9, default, has_gram=False) == [
        ("taylor", 1), ("hermite", 1), ("meancache", 1), ("taylor", 2)]
    assert entrants(replace(AUTO_REQUEST, quick=True), 9, default) == [default]
    assert entrants(replace(REQUEST, mechanism="dicache"), 9, default) == [("dicache", 1)]


def test_the_winners_are_trained_and_the_policy_says_so(outcome):
    about = outcome.policy.about
    assert set(outcome.mechanisms) == {3, 6} and set(outcome.mechanisms.values()) <= set(CANDIDATES)
    assert about.training["mechanisms tried"] == "taylor 1, hermite 1, meancache, reuse, taylor 2, l2p"
    assert {name for row in outcome.table.values() for name in row} == {
        "learned", "default", "start", "runner-up", "fewer steps", "policy"}
    for k, row in outcome.table.items():
        assert row["policy"] == row[outcome.learned.winners[k]] <= row["learned"]
        assert outcome.policy.mechanism(k / N) == outcome.mechanisms[k]
    assert sum(outcome.evaluations.values()) <= AUTO_REQUEST.evaluations + N


def test_a_training_that_is_stopped_at_once_has_raced_nothing(tmp_path):
    stopped = trained(tmp_path, AUTO_REQUEST, progress=Progress(stopped=lambda: True))
    ks = list(stopped.table)
    assert stopped.evaluations["rollouts"] <= 2 * (N // 4) + AUTO_REQUEST.samples * sum(ks)
    assert {name for row in stopped.table.values() for name in row} == {
        "learned", "default", "start", "fewer steps", "policy"}
    assert all(row["policy"] == row["default"] for row in stopped.table.values())


@pytest.fixture(scope="module")
def by_k(tmp_path_factory):
    """A training in which another candidate wins at each of the two k."""
    def rigged(candidates, k, should_stop):
        wanted = ("hermite", 1) if k == 3 else ("taylor", 2)
        return sorted(candidates, key=lambda each: each.entry != wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "race", rigged)
        return trained(tmp_path_factory.mktemp("by_k"), AUTO_REQUEST)


def test_a_policy_has_a_mechanism_for_every_budget(by_k, tmp_path):
    wanted = {3: ("hermite", 1), 6: ("taylor", 2)}
    defaults = {k: default_mechanism(N, k) for k in wanted}
    for k, winner in by_k.learned.winners.items():
        second = ("taylor", 1)  # the first of the others in the list
        assert by_k.mechanisms[k] == {"default": defaults[k], "runner-up": second}.get(winner, wanted[k])
    path = tmp_path / "it.safetensors"
    file = replace(by_k.policy, mechanisms=wanted)
    save(path, file)
    assert load(path, tmp_path).mechanisms == wanted
    times = file.policy.times
    for k in wanted:
        assert RunChoice(k / N, file, mechanism=AUTO).mechanism_for(times) == wanted[k]
        assert RunChoice(k / N, file, mechanism="reuse").mechanism_for(times) == ("reuse", 1)
    assert differences(file, Target("taylor", 2, "auto", 0.5))[0][0] == 0.0
    assert differences(file, Target("taylor", 2, "auto", 0.25))[0][0] == 2.0 + 1.0


def test_the_default_contends_with_its_own_mechanism(by_k):
    """Its held-out cost is that of a training with the default mechanism alone."""
    run = flow()
    for k, row in by_k.table.items():
        schedule = by_k.starts["default"][k]
        costs = []
        for sample in [run.samples(4, (run.seed + HELD_OUT_SEED) % 2**64)[i] for i in range(2)]:
            with torch.inference_mode():
                config = CacheConfig(lambda times, cost, schedule=schedule: schedule.computed,
                                     *default_mechanism(N, k), cache_point="output")
                costs.append(float(LATENT_RMSE(run.cached(sample, config), run.uncached(sample))))
        assert row["default"] == pytest.approx(sum(costs) / 2, rel=1e-4)


def test_a_race_replays_without_the_network(finished, outcome, monkeypatch):
    runs = []
    sample = workflow.Workflow._sample
    monkeypatch.setattr(workflow.Workflow, "_sample", lambda self, *a: runs.append(a) or sample(self, *a))
    again = trained(finished, AUTO_REQUEST)
    assert again.learned.schedules == outcome.learned.schedules
    assert again.evaluations == outcome.evaluations and len(runs) == 1


def test_in_a_run_of_few_steps_every_mechanism_is_tried_with_every_schedule(tmp_path):
    family = FAMILIES["flux"]
    six = sampler_nodes.ksampler(models("flux")[0], [family.conditioning()], 6, 1.0, "euler", "simple", 1.0,
                            {"samples": torch.zeros(1, *family.latent_shape)}, 3)
    made = trained(tmp_path, replace(AUTO_REQUEST, budgets=(0.5, 0.7), evaluations=600), six)
    for mechanism in ("taylor-1", "hermite-1", "meancache-1", "reuse-1", "l2p-1"):
        lines = (tmp_path / f"costs-{mechanism}.jsonl").read_text().splitlines()
        assert len({tuple(json.loads(line)[0]) for line in lines}) == 10 + 10, mechanism  # 3 and 4 of 6
    assert sum(made.evaluations.values()) <= 600


def test_what_a_race_runs():
    assert [entries_run(6, 8), entries_run(6, 2), entries_run(1, 4), entries_run(5, 16)] == [
        6 * 2 + 3 * 2 + 4, 6 * 2, 4, 5 * 2 + 2 * 2 + 12]


def test_labels():
    labels = [label("taylor", 2), label("hermite", 1), label("reuse", 1), label("l2p", 1)]
    assert labels == ["taylor 2", "hermite 1", "reuse", "l2p"]
    assert not any(mechanisms.class_of(name).of_residual for name, _ in CANDIDATES)  # one recording serves all


def test_the_node_offers_it_last_and_tells_what_was_chosen(node):
    choice = next(each for each in train.ReCacheTrain.define_schema().inputs if each.id == "mechanism")
    assert choice.options == [*mechanisms.NAMES, AUTO] and choice.default == AUTO
    family = FAMILIES["flux"]
    positive, negative = family.conditioning()
    policy, _, text = train.ReCacheTrain.execute(
        model=models("flux")[0], positive=positive, negative=negative,
        latent_image={"samples": torch.zeros(1, *family.latent_shape)}, seed=3, steps=N, cfg=1.0, sampler_name="euler",
        scheduler="simple", denoise=1.0, budgets="0.3, 0.5", samples=2, evaluations=120, minutes=0.0, mechanism=AUTO,
        order=3, cache_point="output", distance="auto", reward="none", alpha=0.1).args
    used = {k: policy.mechanism(k / N) for k in policy.policy.budgets}
    assert f"{mechanisms_text(used)} was chosen of {policy.about.training['mechanisms tried']}" in text


def test_mechanisms_in_words():
    assert mechanisms_text({3: ("taylor", 2), 6: ("taylor", 2)}) == "taylor 2"
    assert mechanisms_text({3: ("reuse", 1), 4: ("hermite", 1), 6: ("reuse", 1)}) == "reuse (3, 6), hermite 1 (4)"
