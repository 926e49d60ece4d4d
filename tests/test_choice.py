"""What a Budget node's settings decide, for every length of a run."""

from __future__ import annotations

import pytest

from recache.caching import AUTO, Reason
from recache.nodes.library.choice import RunChoice
from recache.nodes.library.folders import SHIPPED
from recache.policies.defaults import default_mechanism, default_schedule
from recache.policies.policy_file import load
from recache.policies.schedule import ScheduleError
from recache.policies.uniform import uniform


def times(n: int) -> tuple[float, ...]:
    return tuple(1.0 - i / n for i in range(n))


def test_the_budget_is_kept_and_what_is_no_better_than_fewer_steps_is_said():
    for n in range(1, 60):
        for k in range(1, n + 1):
            assert sum(RunChoice(k / n, mechanism=AUTO).schedule(times(n))) == k
    for n, k in ((4, 3), (8, 3), (50, 3)):  # here auto repeats the last evaluation
        remark = RunChoice(k / n, mechanism=AUTO).remark(times(n))
        assert remark == Reason("as_fewer_steps", {"steps": n, "computed": k})
    for n, k in ((8, 4), (20, 10), (50, 5), (50, 9), (8, 8), (1, 1)):
        assert RunChoice(k / n, mechanism=AUTO).remark(times(n)) is None
    assert RunChoice(0.3, mechanism="reuse").remark(times(8)).code == "as_fewer_steps"
    assert RunChoice(0.3, mechanism="taylor").remark(times(8)).code == "worse_than_fewer_steps"
    assert RunChoice(0.3, listed="0, 4", mechanism="taylor").remark(times(8)).code == "worse_than_fewer_steps"
    assert RunChoice(1.0, mechanism="taylor").remark(times(4)) is None
    assert RunChoice(0.3, listed="0, 9", mechanism=AUTO).remark(times(8)) is None  # left uncached
    assert RunChoice(0.3, load(SHIPPED / "demo-flux-taylor1.safetensors", SHIPPED)).remark(times(8)) is None


def test_auto_takes_the_policys_mechanism_else_the_default_for_the_length():
    file = load(SHIPPED / "demo-flux-taylor1.safetensors", SHIPPED)
    assert RunChoice(0.3, file, mechanism=AUTO).mechanism_for(times(8)) == ("taylor", 1)
    assert RunChoice(0.3, file, mechanism="hermite", order=2).mechanism_for(times(8)) == ("hermite", 2)
    for n, budget in ((8, 0.75), (50, 0.3)):
        assert RunChoice(budget, mechanism=AUTO).mechanism_for(times(n)) == default_mechanism(n, int(budget * n))
    assert RunChoice(0.3, mechanism=AUTO).mechanism_for(()) == default_mechanism(0, 0)  # a run that can't be planned


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
