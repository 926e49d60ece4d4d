"""Some of what is combined with ReCache: the budget is kept, and 1.0 changes nothing; or a reason says why not."""

from __future__ import annotations

import pytest

from tests.reliability.matrix import measure

pytestmark = pytest.mark.usefixtures("host")
# `nox -s compositions` measures all; most others have tests of their own elsewhere.
QUICK = ("hires fix (a second, larger pass)", "differential diffusion", "prompts for parts of the run", "APG",
         "perpendicular negative", "shift node", "two ReCache nodes in a row", "LazyCache before it",
         "GGUF-style weights (dequantised when used)", "low VRAM (weights moved when used)")


@pytest.mark.parametrize("name", QUICK)
def test_it_works_with(name):
    for row in measure(name).values():
        assert row.good, row
