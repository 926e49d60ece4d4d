"""Whatever is combined with ReCache: the budget is kept, and 1.0 changes nothing; or a reason says why not."""

from __future__ import annotations

import pytest

from tests.reliability.compositions import COMPOSITIONS
from tests.reliability.matrix import MOST_ERROR, measure

pytestmark = pytest.mark.usefixtures("host")


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_it_works_with(name):
    for row in measure(name).values():
        assert row.identical
        assert row.kept, row
        assert row.error < MOST_ERROR, row
