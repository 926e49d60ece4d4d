"""The mechanisms against hand-computed cases with irregular gaps, and polynomials that they must reproduce."""

from __future__ import annotations

import itertools

import pytest
import torch

from recache.caching import mechanisms
from recache.caching.history import History, usable_history
from recache.caching.mechanisms.base import divided_differences
from recache.caching.mechanisms.hermite import Hermite, hermite_polynomial


def recorded(mechanism, points, base=None):
    """A history that saw `points` [(position, value)], oldest first."""
    history = History(mechanism)
    for position, value in points:
        history.record(position, torch.full((1, 2, 3), float(value)), base)
    return history


def forecast(mechanism, points, position):
    return float(recorded(mechanism, points).forecast(position, torch.device("cpu"))[0, 0, 0])


def test_divided_differences_by_hand():
    # f(0) = 1, f(1) = 3, f(4) = 2, newest first: f[4] = 2, f[4,1] = (2-3)/(4-1), f[1,0] = 2,
    # f[4,1,0] = (-1/3 - 2)/(4-0) = -7/12
    values = [2.0, 3.0, 1.0]
    rows = divided_differences([4.0, 1.0, 0.0], 2)
    found = [sum(w * v for w, v in zip(row, values)) for row in rows]
    assert found == pytest.approx([2.0, -1.0 / 3.0, -7.0 / 12.0])


def test_divided_differences_stop_where_the_history_does():
    assert len(divided_differences([3.0, 1.0], 3)) == 2


def test_reuse_repeats_the_last():
    assert forecast(mechanisms.make("reuse"), [(0, 1), (1, 3), (4, 2)], 6) == 2.0


def test_taylor_1_by_hand():
    # slope over the last gap (1 -> 4): -1/3; from 4 to 6: 2 - 2/3
    assert forecast(mechanisms.make("taylor", 1), [(0, 1), (1, 3), (4, 2)], 6) == pytest.approx(4.0 / 3.0)


def test_taylor_2_by_hand():
    # 2 - 1/3 x + D_2 x^2 / 2, D_2 = 2 f[4,1,0] = -7/6, x = 2
    assert forecast(mechanisms.make("taylor", 2), [(0, 1), (1, 3), (4, 2)], 6) == pytest.approx(2 - 2 / 3 - 7 / 3)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_taylor_reproduces_lines(order):
    points = [(t, 5.0 - 1.5 * t) for t in (0.0, 0.7, 2.0, 2.2, 5.0)]
    assert forecast(mechanisms.make("taylor", order), points, 9.0) == pytest.approx(5.0 - 1.5 * 9.0, rel=1e-5)


@pytest.mark.parametrize(("i", "x", "value"), [(0, 3.0, 1), (1, 3.0, 6), (2, 3.0, 34), (3, 3.0, 180), (2, 0.0, -2)])
def test_physicists_hermite_polynomials(i, x, value):
    assert hermite_polynomial(i, x) == value


def test_hermite_1_by_hand():
    # D_1 = -1/3, sigma H_1(sigma x) = 0.5 * 2 * 0.5 * 2 = 1
    found = forecast(Hermite(1, 0.5), [(0, 1), (1, 3), (4, 2)], 6)
    assert found == pytest.approx(2 - 1 / 3)


def test_hermite_2_by_hand():
    # D_2 / 2 = -7/12, sigma^2 H_2(sigma x) = 0.25 * (4 * 1 - 2) = 0.5
    found = forecast(Hermite(2, 0.5), [(0, 1), (1, 3), (4, 2)], 6)
    assert found == pytest.approx(2 - 1 / 3 - 7 / 24)


def test_half_precision_is_summed_in_full():
    """In its own precision twice 40,000 is infinite, and stays so when 20,000 is taken off it."""
    def forecast(dtype, *values, base=None):
        history = History(mechanisms.make("taylor", len(values) - 1))
        for position, value in enumerate(values):
            history.record(position, torch.full((4,), value, dtype=dtype))
        made = history.forecast(len(values), torch.device("cpu"), base)
        assert made.dtype == dtype and made.unique().numel() == 1
        return float(made[0])

    assert forecast(torch.float16, 20_000.0, 40_000.0) == 60_000.0
    assert forecast(torch.float16, 20_000.0, 60_000.0) == torch.finfo(torch.float16).max
    assert forecast(torch.float16, 10_000.0, 40_000.0, base=torch.full((4,), -40_000.0).half()) == 30_000.0
    assert forecast(torch.bfloat16, 1.0, 1.0, 1.015625) == 1.0390625  # 1.03125 if every sum is rounded


def test_first_order_hermite_at_the_root_of_a_half_is_taylor():
    points = [(0, 1), (1, 3), (4, 2)]
    hermite = Hermite(1, 0.5**0.5)
    assert forecast(hermite, points, 6) == pytest.approx(forecast(mechanisms.make("taylor", 1), points, 6))


def test_meancache_by_hand():
    # noise levels 8, 7, 5, 4, 2, 0, so d = -1, -2, -1, -2, -2; v_0 = 2, v_1 = 6, v_2 = 8
    # v_3 = 8 + (8 - 6) (2 * 1) / (2 + 1)^2 = 8.444, v_4 = v_3 + (v_3 - 8) (2 * 2) / (1 + 2)^2
    meancache = mechanisms.make("meancache", levels=(8.0, 7.0, 5.0, 4.0, 2.0, 0.0))
    points, third = [(0, 2), (1, 6), (2, 8)], 8 + 2 * 2 / 9
    assert forecast(meancache, points, 3) == pytest.approx(third)
    assert forecast(meancache, points, 4) == pytest.approx(third + (third - 8) * 4 / 9)
    # only 0 and 2 computed: v_1 is v_0; evenly spaced levels: a quarter of the last change
    assert forecast(mechanisms.make("meancache"), [(0, 2), (2, 8)], 3) == pytest.approx(8 + (8 - 2) / 4)
    assert forecast(meancache, points[:1], 4) == 2.0 and forecast(meancache, points, 2) == 8.0
    assert forecast(meancache, points[::-1], -1) == 2.0  # against the run's direction nothing is continued


def test_residual_adds_the_last_change():
    history = recorded(mechanisms.make("residual"), [(0, 5.0)], base=torch.full((1, 2, 3), 2.0))
    found = history.forecast(3, torch.device("cpu"), torch.full((1, 2, 3), 10.0))
    assert torch.equal(found, torch.full((1, 2, 3), 13.0))


def dicache_forecast(gamma_max, probe_now):
    history = History(mechanisms.make("dicache", gamma_max=gamma_max))
    zero = torch.zeros(1, 2, 3)
    history.record(0, torch.full((1, 2, 3), 4.0), zero, probe=torch.full((1, 1, 3), 1.0))
    history.record(3, torch.full((1, 2, 3), 6.0), zero, probe=torch.full((1, 1, 3), 2.0))
    out = history.forecast(5, torch.device("cpu"), torch.full((1, 2, 3), 10.0), torch.full((1, 1, 3), probe_now))
    return float(out[0, 0, 0])


@pytest.mark.parametrize(
    ("gamma_max", "probe", "gamma"), [(1.5, 2.25, 1.25), (1.5, 9.0, 1.5), (2.0, 9.0, 2.0), (1.5, 1.1, 1.0)])
def test_dicache_by_hand(gamma_max, probe, gamma):
    # gamma = |p - 1| / |2 - 1| clipped to [1, gamma_max]; forecast 10 + 4 + gamma (6 - 4)
    assert dicache_forecast(gamma_max, probe) == pytest.approx(14 + 2 * gamma)


def test_dicache_with_one_computed_evaluation_is_residual():
    history = History(mechanisms.make("dicache"))
    history.record(0, torch.full((1, 2, 3), 4.0), torch.zeros(1, 2, 3), probe=torch.ones(1, 1, 3))
    out = history.forecast(1, torch.device("cpu"), torch.ones(1, 2, 3), torch.ones(1, 1, 3))
    assert torch.equal(out, torch.full((1, 2, 3), 5.0))


@pytest.mark.parametrize("name, order", [("reuse", 1), *itertools.product(("taylor", "hermite"), (1, 2, 3))])
def test_constants_stay_with_any_gaps(name, order):
    points = [(t, 7.0) for t in (0.0, 0.1, 3.0, 3.5)]
    assert forecast(mechanisms.make(name, order), points, 8.0) == pytest.approx(7.0, rel=1e-5)


def test_the_history_is_as_deep_as_the_mechanism_and_no_deeper():
    cases = (("reuse", 1, 1), ("residual", 1, 1), ("taylor", 1, 2), ("taylor", 3, 4), ("dicache", 1, 2),
             ("meancache", 1, 3))
    for name, order, depth in cases:
        mechanism = mechanisms.make(name, order)
        history = recorded(mechanism, [(t, t) for t in range(6)], torch.zeros(1, 2, 3))
        assert len(history) == mechanism.depth == depth


@pytest.mark.parametrize("mechanism", ["reuse", "residual"])
def test_recording_copies_and_forecasting_returns_a_new_tensor(mechanism):
    history = History(mechanisms.make(mechanism))
    feature, base = torch.ones(1, 2, 3), torch.zeros(1, 2, 3)
    history.record(0, feature, base)
    for written in (feature, history.forecast(1, torch.device("cpu"), base)):
        written.fill_(7.0)
        assert torch.equal(history.forecast(1, torch.device("cpu"), base), torch.ones(1, 2, 3))


@pytest.mark.parametrize("mechanism", ["taylor", "residual"])
def test_features_are_stored_on_the_device_of_the_history_and_forecasts_made_where_they_are_wanted(mechanism):
    cpu, other = torch.device("cpu"), torch.device("meta")  # meta: a device that every machine has
    feature = torch.ones(1, 2, 3)
    for device, stored in ((None, cpu), (cpu, cpu), (other, other)):
        history = History(mechanisms.make(mechanism), device)
        for position in range(2):
            history.record(position, feature, torch.zeros(1, 2, 3))
        assert {tensor.device for tensor in history.features} == {stored}
        assert history.forecast(2, other, torch.zeros(1, 2, 3, device=other)).device == other


def test_a_full_history_uses_its_memory_again():
    history = recorded(mechanisms.make("taylor", 1), [(0, 0), (1, 1)])
    before = {feature.data_ptr() for feature in history.features}
    history.record(2, torch.full((1, 2, 3), 2.0))
    assert {feature.data_ptr() for feature in history.features} == before
    assert history.positions == [2, 1]


@pytest.mark.parametrize(
    ("past", "now", "kept"),
    [
        ([4, 1, 0], 6, [0, 1, 2]),
        ([4, 4, 1], 6, [0, 2]),  # Heun: two evaluations at one time
        ([4, 1, 0], 4, [0]),  # at the time of the last: repeat it
        ([4, 1, 0], 2, [0]),  # back to more noise: nothing lies further on the same side
        ([2, 4, 1, 0], 3, [0, 2, 3]),  # restart: 4 lies on the other side
    ])
def test_only_receding_evaluations_are_used(past, now, kept):
    assert usable_history(past, now) == kept


def test_no_division_by_zero_and_no_backward_extrapolation():
    taylor = mechanisms.make("taylor", 2)
    assert forecast(taylor, [(0, 1), (1, 3), (1, 5)], 1) == 5.0
    assert forecast(taylor, [(0, 1), (3, 4), (1, 8)], 2) == pytest.approx(15.0)  # through (0, 1) and (1, 8)


def test_the_later_of_two_at_one_time_takes_the_place_of_the_earlier():
    assert forecast(mechanisms.make("taylor", 1), [(0, 0), (2, 9), (2, 4)], 3) == pytest.approx(6.0)
