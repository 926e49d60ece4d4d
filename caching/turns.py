"""Whose turn it is to be computed, where a sampler asks about several things in turn."""

from __future__ import annotations

PATIENCE = 4  # evaluations after which what was not asked about again has no turn any more


class Turns:
    """What every evaluation asks about (conds and latent), and when that was last computed."""

    def __init__(self):
        self._now: tuple = ()
        self._asked: dict[tuple, int] = {}
        self._computed: dict[tuple, int] = {}
        self._returned: set[tuple] = set()

    def ask(self, what: tuple, index: int) -> None:
        """Evaluation `index` asks about `what`."""
        self._now = what
        if index - self._asked.get(what, index) > 1:
            self._returned.add(what)
        self._asked[what] = index

    def compute(self, index: int) -> None:
        """Evaluation `index` was computed."""
        self._computed[self._now] = index

    def others_turn(self, index: int) -> bool:
        """Whether something else that is asked about again and again was computed longer ago."""
        last = self._computed.get(self._now, -1)
        return any(index - self._asked[what] < PATIENCE and self._computed.get(what, last) < last
                   for what in self._returned)
