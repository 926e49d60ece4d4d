"""Whatever happens at any point of a run, nothing of it stays, and the next run is as if nothing had happened."""

from __future__ import annotations

import pytest

from tests.reliability.injection import ERRORS, SETTINGS, Subject

pytestmark = pytest.mark.usefixtures("host")
POINTS = 5  # of a run, that are tried here; `nox -s faults` tries all


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_stays_of_a_run_that_went_wrong(name):
    subject = Subject(name)
    assert subject.points > 100
    for i, kind in enumerate(ERRORS):
        for j in range(POINTS):
            subject.inject((len(ERRORS) * j + i) * subject.points // (len(ERRORS) * POINTS), kind)
