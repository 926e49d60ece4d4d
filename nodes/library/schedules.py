"""Schedules of a budget for the engine: of a policy, of a list that the artist wrote, or of neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...policies.budget import computed_for_budget
from ...policies.default_schedule import default_schedule
from ...policies.policy import Policy
from ...policies.policy_file import PolicyFile
from ...policies.schedule import Schedule, ScheduleError, explicit, same_times
from ...policies.uniform import uniform

Scheduler = Callable[[Sequence[float], float], tuple[bool, ...]]
Choose = Callable[[int, tuple[float, ...]], Schedule]


def scheduler(budget: float, policy: str, evaluations: str, file: PolicyFile | None) -> Scheduler:
    """The schedule of a node's settings, for the engine.

    Raises:
        ScheduleError: a list of evaluations that is none.
    """
    if file is not None:
        return budget_schedule(budget, by_policy(file.policy))
    if policy == "list":
        explicit(evaluations, 100_000)  # nonsense is refused before anything is loaded
        return listed(evaluations)
    return budget_schedule(budget, evenly)


def listed(text: str) -> Scheduler:
    """The schedule that an artist wrote down."""
    return lambda times, cached_cost: explicit(text, len(times)).computed


def budget_schedule(budget: float, choose: Choose) -> Scheduler:
    """The schedule of a budget; `choose` gives the schedule of k evaluations at these times."""
    def schedule(times: Sequence[float], cached_cost: float) -> tuple[bool, ...]:
        n = len(times)
        if cached_cost and 1.0 + (n - 1) * cached_cost > budget * n >= 1.0:
            raise ScheduleError(f"cached evaluations that cost {cached_cost:.0%} of a computed one exceed the budget")
        return choose(computed_for_budget(budget, n, cached_cost), tuple(times)).computed
    return schedule


def evenly(k: int, times: tuple[float, ...]) -> Schedule:
    """The schedule without a policy; where times repeat, as Heun's do, the rules were not measured."""
    return (default_schedule if len(set(times)) == len(times) else uniform)(len(times), k)


def by_policy(policy: Policy) -> Choose:
    """A trained policy's schedules."""
    return lambda k, times: policy.schedule(k, _snapped(times, policy.times))


def _snapped(times: tuple[float, ...], known: tuple[float, ...]) -> tuple[float, ...]:
    """`times`, where they are those the policy knows but for rounding: just those."""
    if same_times(times, known):
        return known
    return (known[0], *times[1:]) if same_times(times[:1], known[:1]) else times
