"""Which of several policies "auto" takes for a run: tables of policies and runs."""

from __future__ import annotations

import numpy as np
import pytest

from recache.caching import RunSettings
from recache.nodes.library.ranking import Target, best, differences
from recache.policies.policy import from_schedules
from recache.policies.policy_file import About, PolicyFile
from recache.policies.schedule import Schedule
from recache.policies.uniform import uniform

pytestmark = pytest.mark.usefixtures("host")


def times(n: int, shift: float = 1.0) -> tuple[float, ...]:
    even = 1.0 - np.arange(n) / n
    return tuple((shift * even / (1.0 + (shift - 1.0) * even)).tolist())


def policy(name: str = "it", gain: float | None = 0.2, n: int = 50, shift: float = 1.0, *, mechanism: str = "taylor",
           order: int | None = 1, cache_point: str = "output", sampler: str = "euler", cfg: float = 3.5,
           size: tuple[int, ...] = (1024, 1024), gains: dict[int, float] | None = None) -> PolicyFile:
    """A policy of 9 and 13 of n, that saved this part of uniform's error (or these parts at these k)."""
    gains = gains or ({} if gain is None else {9: gain, 13: gain})
    about = About(name, "0", "Flux", mechanism, cache_point, sampler, "simple", n, cfg, list(size), "latent RMSE",
                  mechanism_options={} if order is None else {"order": order})
    made = from_schedules({k: Schedule(uniform(n, k).computed, times(n, shift)) for k in (9, 13)})
    return PolicyFile(made, about, {k: {"learned": 1.0 - g, "uniform": 1.0} for k, g in gains.items()})


RUN = RunSettings("euler", times(50), 3.5, (1024, 1024))
WANTED = Target("taylor", 1, "auto", 0.18, RUN)
OWN, SHIPPED = True, False


def chosen(*files: tuple[PolicyFile, bool], target: Target = WANTED) -> str | None:
    found = best(files, target)
    assert found is best(files[::-1], target), "two that differ have one order"
    return found and found.about.name


@pytest.mark.parametrize("gain, of", [
    (0.2, (OWN, SHIPPED)), (1e-3, (OWN, SHIPPED)), (None, (SHIPPED,)), (0.0, ()), (-0.1, ())])
def test_a_policy_that_did_not_help_is_not_used(gain, of):
    for own in (OWN, SHIPPED):
        assert chosen((policy(gain=gain), own)) == ("it" if own in of else None)
    assert chosen() is None


def test_what_counts_is_the_gain_at_the_budget_of_the_run():
    file = policy(gains={9: 0.0, 13: 0.3})
    assert best([(file, OWN)], WANTED) is None
    assert best([(file, OWN)], Target("taylor", 1, "auto", 0.26, RUN)) is file


@pytest.mark.parametrize("own, taken", [
    ({}, "own"), ({"gain": 1e-3}, "own"), ({"gain": 0.0}, "shipped"), ({"gain": None}, "shipped"),
    ({"n": 20}, "shipped"), ({"shift": 3.0}, "shipped"), ({"sampler": "heun"}, "shipped"), ({"cfg": 1.0}, "shipped"),
    ({"size": (512, 512)}, "shipped"), ({"size": (1024, 768)}, "shipped"), ({"mechanism": "hermite"}, "shipped"),
    ({"order": 2}, "shipped"), ({"sampler": ""}, "own"), ({"size": ()}, "own"), ({"cfg": 3.505}, "own")])
def test_an_own_policy_goes_first_if_it_helped_and_fits_as_well(own, taken):
    assert chosen((policy("own", **own), OWN), (policy("shipped", 0.9), SHIPPED)) == taken


@pytest.mark.parametrize("nearer, farther", [
    ({}, {"mechanism": "residual", "order": None}), ({"order": 2}, {"mechanism": "hermite"}),
    ({"n": 20}, {"order": 3}), ({"n": 40}, {"n": 20}), ({"n": 100}, {"n": 20}),
    ({"shift": 3.0}, {"n": 49}), ({"sampler": "heun"}, {"shift": 3.0}), ({"cfg": 1.0}, {"sampler": "heun"}),
    ({"cfg": 4.0}, {"cfg": 5.0}), ({"size": (64, 64)}, {"cfg": 1.0}), ({"size": (1024, 768)}, {"size": (512, 512)}),
    ({"size": (1024, 1024, 1)}, {"size": (1024, 1024, 5)}), ({"gain": 0.5}, {"gain": 0.4}),
    ({"cache_point": "blocks"}, {"n": 49})])
def test_the_nearer_of_two_is_taken(nearer, farther):
    for own in (OWN, SHIPPED):
        assert chosen((policy("nearer", **nearer), own), (policy("farther", **farther), own)) == "nearer"


def test_a_chosen_cache_point_counts():
    files = (policy("output"), OWN), (policy("blocks", cache_point="blocks", n=20), OWN)
    assert chosen(*files, target=Target("taylor", 1, "blocks", 0.18, RUN)) == "blocks"


def test_of_equals_the_first_is_taken():
    assert best([(policy("a"), OWN), (policy("b"), OWN)], WANTED).about.name == "a"


def test_what_is_not_known_of_a_run_makes_no_difference():
    file = policy(sampler="heun", cfg=1.0, size=(64, 64), shift=3.0)
    unknown = Target("taylor", 1, "auto", 0.18)
    assert not any(distance for distance, _ in differences(file, unknown))
    assert sum(distance > 0.0 for distance, _ in differences(file, WANTED)) == 4


def test_other_steps_are_told_and_not_their_times_too():
    told = [reason.code for distance, reason in differences(policy(n=20, shift=3.0), WANTED) if distance]
    assert told == ["differs_evaluations"]
