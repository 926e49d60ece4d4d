"""ReCache Train's mechanism `auto`: candidates race, and the winner is trained and kept."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import folder_paths
import pytest
import torch

from recache.caching import AUTO, mechanisms, workflow
from recache.nodes import train
from recache.nodes.training.mechanism_race import CANDIDATES, Candidate, label, race
from recache.policies.learning.environment import Memo
from recache.policies.schedule import from_indices
from tests.sampling import models
from tests.tiny.families import FAMILIES
from tests.tiny.training import REQUEST, N, trained

AUTO_REQUEST = replace(REQUEST, mechanism=AUTO, evaluations=560)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("race"), AUTO_REQUEST)


class Costs:
    """An environment with one cost a schedule and sample."""

    n = 6

    def __init__(self, *costs: float):
        self.costs, self.samples = costs, len(costs)

    def cost(self, schedule, sample):
        return self.costs[sample] * (1.0 if schedule.k == 2 else 0.01)


def candidate(*costs: float) -> Candidate:
    return Candidate(Memo(Costs(*costs)), {2: [from_indices((0, 3), 6)], 4: [from_indices((0, 1, 3, 5), 6)]})


def test_the_candidate_with_the_least_cost_wins_and_the_others_stop_early():
    entries = [candidate(*[1.0] * 16), candidate(*[0.5] * 16), candidate(*[0.7] * 16), candidate(*[2.0] * 16)]
    assert race(entries) is entries[1]
    assert [entry.memo.rollouts for entry in entries] == [4, 8, 8, 4]  # two samples for all, then four, of two k each


def test_every_k_counts_alike_however_small_its_costs_are():
    class Mixed(Costs):
        def cost(self, schedule, sample):
            return self.costs[0] if schedule.k == 2 else self.costs[1]

    first, second = candidate(1.0, 1.0), candidate(1.0, 1.0)
    first = replace(first, memo=Memo(Mixed(1.0, 0.001)))
    second = replace(second, memo=Memo(Mixed(1.1, 0.0001)))
    assert race([first, second]) is second


def test_the_winner_is_trained_and_its_policy_says_so(outcome, tmp_path):
    about = outcome.policy.about
    order = about.mechanism_options.get("order", 1)
    assert (about.mechanism, order) in CANDIDATES
    assert about.training["mechanisms tried"] == "taylor 1, hermite 1, meancache, reuse, taylor 2, l2p"
    alone = trained(tmp_path, replace(REQUEST, mechanism=about.mechanism, order=order, evaluations=560))
    raced = outcome.evaluations["rollouts"] - alone.evaluations["rollouts"]
    assert outcome.starts == alone.starts and "mechanisms tried" not in alone.policy.about.training
    assert sum(outcome.evaluations.values()) <= AUTO_REQUEST.evaluations + N and raced <= N


def test_a_race_replays_without_the_network(outcome, tmp_path, monkeypatch):
    first = trained(tmp_path, AUTO_REQUEST)
    runs = []
    sample = workflow.Workflow._sample
    monkeypatch.setattr(workflow.Workflow, "_sample", lambda self, *a: runs.append(a) or sample(self, *a))
    again = trained(tmp_path, AUTO_REQUEST)
    assert again.learned.schedules == first.learned.schedules == outcome.learned.schedules
    assert again.evaluations == outcome.evaluations and len(runs) == 1


def test_labels():
    labels = [label("taylor", 2), label("hermite", 1), label("reuse", 1), label("l2p", 1)]
    assert labels == ["taylor 2", "hermite 1", "reuse", "l2p"]
    assert not any(mechanisms.class_of(name).of_residual for name, _ in CANDIDATES)  # one recording serves all


def test_the_node_offers_it_last_and_tells_what_was_chosen(monkeypatch, tmp_path):
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    monkeypatch.setattr(train.ReCacheTrain, "hidden", SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None),
                        raising=False)
    choice = next(each for each in train.ReCacheTrain.define_schema().inputs if each.id == "mechanism")
    assert choice.options == [*mechanisms.NAMES, AUTO] and choice.default == AUTO
    family = FAMILIES["flux"]
    positive, negative = family.conditioning()
    policy, _, text = train.ReCacheTrain.execute(
        model=models("flux")[0], positive=positive, negative=negative,
        latent_image={"samples": torch.zeros(1, *family.latent_shape)}, seed=3, steps=N, cfg=1.0, sampler_name="euler",
        scheduler="simple", denoise=1.0, budgets="0.3, 0.5", samples=2, evaluations=120, minutes=0.0, mechanism=AUTO,
        order=3, cache_point="output", distance="auto", reward="none", alpha=0.1).args
    chosen = label(policy.about.mechanism, policy.about.mechanism_options.get("order", 1))
    assert f"{chosen} was chosen of {policy.about.training['mechanisms tried']}" in text
