"""What a Budget node's settings decide, for every length of a run."""

from __future__ import annotations

import re

import pytest

from recache.caching import AUTO, Reason, RunSettings
from recache.nodes.library.choice import RunChoice
from recache.nodes.library.folders import SHIPPED
from recache.nodes.library.ranking import Target
from recache.nodes.library.resolve import PolicyChoice
from recache.policies.budget import budget_for, computed_for_budget
from recache.policies.defaults import default_mechanism, default_schedule, least_computed
from recache.policies.expected_quality import PRESETS, WORDS, expected_distance, presets, word_of
from recache.policies.policy_file import load
from recache.policies.schedule import ScheduleError
from recache.policies.uniform import uniform
from tests.hosting.session import ROOT


def times(n: int, shift: float = 1.0) -> tuple[float, ...]:
    return tuple(shift * t / (1.0 + (shift - 1.0) * t) for t in (1.0 - i / n for i in range(n)))


def test_the_budget_is_kept_and_what_is_no_better_than_fewer_steps_is_said():
    for n in range(1, 60):
        for k in range(1, n + 1):
            for shift in (1.0, 8.0):
                computed = sum(RunChoice(k / n, mechanism=AUTO).schedule(times(n, shift)))
                assert computed == least_computed(n, k, times(n, shift)) >= k
            assert sum(RunChoice(k / n, mechanism="reuse").schedule(times(n))) == k
    for n, k, instead in ((4, 3, 4), (8, 3, 4), (5, 2, 5)):
        remark = RunChoice(k / n, mechanism=AUTO).remark(times(n, 8.0))
        assert remark == Reason("raised", {"steps": n, "computed": k, "instead": instead})
    for n, k in ((4, 1), (8, 2), (50, 3)):  # here auto repeats the last evaluation
        remark = RunChoice(k / n, mechanism=AUTO).remark(times(n))
        assert remark == Reason("as_fewer_steps", {"steps": n, "computed": k})
    for n, k in ((8, 4), (20, 10), (50, 5), (50, 9), (8, 8), (1, 1)):
        assert RunChoice(k / n, mechanism=AUTO).remark(times(n)) is None
    assert RunChoice(0.3, mechanism="reuse").remark(times(8)).code == "as_fewer_steps"
    assert RunChoice(0.3, mechanism="taylor").remark(times(8)).code == "worse_than_fewer_steps"
    assert RunChoice(0.3, listed="0, 4", mechanism="taylor").remark(times(8)).code == "worse_than_fewer_steps"
    assert RunChoice(1.0, mechanism="taylor").remark(times(4)) is None
    assert RunChoice(0.4, mechanism=AUTO).remark(times(8), 0.1).fields == {"steps": 8, "computed": 2}
    assert RunChoice(0.3, listed="0, 9", mechanism=AUTO).remark(times(8)) is None  # left uncached
    assert RunChoice(0.3, load(SHIPPED / "demo-flux-taylor1.safetensors", SHIPPED)).remark(times(8)) is None


@pytest.mark.parametrize("n, k, even, crowded", [
    (2, 1, 1, 1), (3, 2, 3, 3), (4, 2, 2, 2), (4, 3, 3, 4), (5, 2, 2, 5), (6, 4, 4, 4), (6, 5, 5, 6), (7, 4, 5, 5),
    (7, 6, 6, 7), (8, 3, 3, 4), (8, 7, 7, 7), (12, 5, 5, 5), (20, 3, 3, 3)])
def test_where_it_would_be_worse_than_fewer_steps_more_is_computed(n, k, even, crowded):
    assert [least_computed(n, k, times(n, shift)) for shift in (1.0, 3.0, 5.0, 8.0)] == [even, even, crowded, crowded]


@pytest.mark.parametrize("n, k, guided", [
    (4, 2, 3), (4, 3, 3), (8, 2, 3), (8, 4, 4), (8, 5, 8), (8, 7, 8), (12, 6, 6), (12, 7, 12), (20, 3, 3),
    (20, 14, 14)])
def test_a_multistep_sampler_with_guidance_has_rules_of_its_own_in_short_runs(n, k, guided):
    choices = {cfg: PolicyChoice("uniform", None, Target(AUTO, 1, "auto", k / n)).choice(
        None, RunSettings("dpmpp_2m", times(n), cfg, multistep=True)) for cfg in (None, 1.0, 2.0)}
    assert [sum(choices[cfg].schedule(times(n))) for cfg in (None, 1.0, 2.0)] == [guided, k, guided]
    raised = Reason("raised", {"steps": n, "computed": k, "instead": guided})
    assert (choices[2.0].remark(times(n)) == raised) == (guided > k)
    lost = Reason("may_lose", {"steps": n, "computed": k})
    assert (choices[1.0].remark(times(n)) == lost) == (8 <= n < 16 and 2 * k > n)
    assert choices[1.0].mechanism_for(times(n)) == default_mechanism(n, k)


def test_a_policy_and_a_list_keep_to_what_they_say():
    file = load(SHIPPED / "demo-flux-taylor1.safetensors", SHIPPED)
    assert sum(RunChoice(0.75, file, mechanism=AUTO).schedule(times(4, 8.0))) == 3
    assert sum(RunChoice(0.75, listed="0, 1, 3", mechanism=AUTO).schedule(times(4, 8.0))) == 3


def test_auto_takes_the_policys_mechanism_else_the_default_for_the_length():
    file = load(SHIPPED / "demo-flux-taylor1.safetensors", SHIPPED)
    assert RunChoice(0.3, file, mechanism=AUTO).mechanism_for(times(8)) == ("taylor", 1)
    assert RunChoice(0.3, file, mechanism="hermite", order=2).mechanism_for(times(8)) == ("hermite", 2)
    for n, budget in ((8, 0.75), (50, 0.3)):
        assert RunChoice(budget, mechanism=AUTO).mechanism_for(times(n)) == default_mechanism(n, int(budget * n))
    assert RunChoice(0.3, mechanism=AUTO).mechanism_for(()) == default_mechanism(0, 0)  # a run that can't be planned


def test_fewer_computed_evaluations_are_never_said_to_be_better():
    for n in range(2, 120):
        places = [WORDS.index(RunChoice(k / n, mechanism=AUTO).expected_word(times(n), k)) for k in range(1, n)]
        assert places == sorted(places, reverse=True), n
        assert WORDS[places[0]] == "broken"
    assert RunChoice(1.0).expected_word(times(8), 8) is None
    by_hand = [RunChoice(0.5, mechanism=mechanism).expected_word(times(8), 5) for mechanism in (AUTO, "taylor")]
    assert by_hand == ["details", "another"]


@pytest.mark.parametrize("listed, word", [
    ("0, 2, 4, 6", "another"), ("0, 1, 4, 6", None), ("0, 1, 3, 5, 7", "details"), ("0-2, 4, 6", "another"),
    ("0-2, 5", None), ("0-6", "details"), ("0-7", None)])
def test_a_list_has_a_word_where_its_gaps_are_no_longer_than_the_defaults(listed, word):
    choice = RunChoice(0.3, listed=listed, mechanism=AUTO)
    assert choice.expected_word(times(8), sum(choice.schedule(times(8)))) == word


@pytest.mark.parametrize("distance, word", [
    (0.0, "same"), (0.001, "same"), (0.0011, "details"), (0.02, "details"), (0.1, "another"), (0.2, "broken")])
def test_a_word_covers_distances_up_to_its_threshold(distance, word):
    assert word_of(distance) == word


def test_between_measured_lengths_the_worse_one_counts():
    assert expected_distance(10, 6) == max(expected_distance(8, 6), expected_distance(12, 6))
    assert expected_distance(12, 6) > expected_distance(12, 7) > expected_distance(12, 8)
    assert expected_distance(1000, 60) == expected_distance(50, 45)


def test_presets_are_the_least_budgets_that_keep_to_their_distance():
    for n in range(2, 120):
        found = presets(n)
        assert list(found.values()) == sorted(found.values()), "from draft to safe"
        for name, k in found.items():
            assert computed_for_budget(budget_for(k, n, 0.1), n, 0.1) in (k, k + 1)
            assert k == n or expected_distance(n, k) <= PRESETS[name]
            assert k == 1 or expected_distance(n, k - 1) > PRESETS[name]
    assert presets(4)["safe"] == 4


def test_the_readme_has_the_presets_budgets():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("budgets -->")[1]
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) >= 6
    for n, budgets in rows:
        assert budgets == " | ".join(f"{budget_for(k, int(n)):g}" for k in presets(int(n)).values()), n


def test_times_that_repeat_keep_the_even_schedule():
    assert RunChoice(0.5).schedule(times(20)) == default_schedule(20, 10).computed
    repeated = tuple(t for t in times(10) for _ in range(2))
    assert RunChoice(0.5).schedule(repeated) == uniform(20, 10).computed


def test_nonsense_is_refused_before_a_run():
    for budget, listed in ((0.0, None), (1.5, None), (0.3, "1, 2"), (0.3, "x")):
        with pytest.raises(ScheduleError):
            RunChoice(budget, listed=listed)
    with pytest.raises(ScheduleError, match="exceed the budget"):
        RunChoice(0.1).schedule(times(20), 0.5)
