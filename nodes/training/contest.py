"""What a training searches with: a mechanism and starts for every k, and what else may win on held-out samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...caching import AUTO
from ...caching.evaluations import Evaluations
from ...caching.feature_kind import FeatureKind
from ...policies.defaults import default_mechanism
from ...policies.learning.elites import Starts
from ...policies.learning.enumeration import evaluations_of_every_schedule, every_schedule
from ...policies.learning.environment import Memo, MemoByK
from ...policies.learning.racing import entries_run
from ...policies.learning.search import Contenders
from ...policies.schedule import Schedule
from .mechanism_race import CANDIDATES, Candidate, entrants, race, tried_schedules
from .references import References
from .request import Entry
from .setup import Setup
from .starts import MAX_STARTS, find_starts

DEFAULT, RUNNER_UP = "default", "runner-up"


@dataclass(eq=False)
class Contest:
    """The mechanisms of a training: for every k candidates race, the winner is searched with, and the second of the
    race and the default contend with what is found.

    Attributes:
        ks: ascending. shares: whether rollouts share prefixes.
        uncached, held_out: training and held-out samples.
        kind: of the recorded predictions.
        own_rules: see policies.defaults.has_own_rules.
        taken: network evaluations of the probe and the uncached runs.
    """

    setup: Setup
    ks: list[int]
    evaluations: Evaluations
    shares: bool
    uncached: References
    held_out: References
    kind: FeatureKind
    own_rules: bool
    taken: int

    def __post_init__(self):
        self._memos: dict[tuple[str, Entry], Memo] = {}

    @cached_property
    def candidates(self) -> dict[Entry, Candidate]:
        """All that race."""
        found = {}
        for entry in dict.fromkeys(entry for k in self.ks for entry in self._entrants(k)):
            found[entry] = Candidate(entry, self._learn(entry), self._tried(entry))
        return found

    @property
    def left(self) -> int:
        """Network evaluations for the training samples: without what is taken and the comparison on held-out ones."""
        compared = 5 if self._races else 4  # learned, default, start, fewer steps; and the second of a race
        request = self.setup.request
        return request.evaluations - self.taken - compared * request.held_out * sum(self.ks)

    @property
    def _samples(self) -> int:
        return len(self.uncached.latents)

    @property
    def _spare(self) -> int:
        """Network evaluations for races, starts and search: without the default schedule on all samples."""
        return self.left - self._samples * sum(self.ks)

    def _tried(self, entry: Entry) -> dict[int, list[Schedule]]:
        """What a mechanism is tried with in the races."""
        ks = [k for k in self.ks if entry in self._entrants(k)]
        if self._tries_all:
            return {k: list(every_schedule(len(self.evaluations), [k], self.evaluations.times)) for k in ks}
        found = tried_schedules(ks, self.evaluations, self.uncached.gram, self.kind, self._mechanism(entry),
                                self.own_rules)
        return {k: schedules[:self._most[1]] for k, schedules in found.items()}

    @cached_property
    def _tries_all(self) -> bool:
        """Whether the races can try every schedule with every mechanism."""
        everything = evaluations_of_every_schedule(len(self.evaluations), self.ks, self.shares)
        return self._races and everything * entries_run(len(CANDIDATES), self._samples) <= self.left

    @cached_property
    def _most(self) -> tuple[int, int]:
        """Mechanisms in a race and schedules that each is tried with: as many as there are evaluations for."""
        if self._tries_all:
            return len(CANDIDATES), 0
        for entries, schedules in ((len(CANDIDATES), 3), (len(CANDIDATES), 2), (3, 2), (2, 2)):
            raced = sum(k * schedules * entries_run(min(entries, len(self._all(k))), self._samples) for k in self.ks)
            if raced <= self._spare:
                return entries, schedules
        return 1, 1

    @property
    def _races(self) -> bool:
        request = self.setup.request
        return request.mechanism == AUTO and not request.quick

    @cached_property
    def raced(self) -> dict[int, list[Candidate]]:
        """{k: the candidates, the winner first}."""
        return {k: race([self.candidates[entry] for entry in self._entrants(k)], k, self.setup.should_stop)
                for k in self.ks}

    @cached_property
    def memo(self) -> MemoByK:
        """The training samples, each k under its winner; all rollouts of the races count."""
        return MemoByK({k: row[0].memo for k, row in self.raced.items()},
                       (each.memo for row in self.raced.values() for each in row))

    @cached_property
    def starts(self) -> Starts:
        """See find_starts."""
        found: Starts = {}
        each, left = sum(self.ks), self._spare - self.memo.evaluations
        most = next((most for most in range(MAX_STARTS, 1, -1) if each * entries_run(most, self._samples) <= left), 1)
        for entry in dict.fromkeys(row[0].entry for row in self.raced.values()):
            ks = [k for k in self.ks if self.raced[k][0].entry == entry]
            starts = find_starts(ks, self.evaluations, self.uncached.gram, self.kind, self._mechanism(entry),
                                 self._learn(entry), self.own_rules, most, self.setup.should_stop)
            for name, of_k in starts.items():
                found[name] = found.get(name, {}) | of_k
        return found

    @cached_property
    def contenders(self) -> Contenders:
        """The default and the second of the race, each with its own mechanism; {} where a k had no race.

        Where the training is stopped before the search the second is left out: to choose its schedule takes rollouts.
        """
        if not self._races or any(len(row) == 1 for row in self.raced.values()):
            return {}
        default = {DEFAULT: {k: (self._choose(self._default(k)), self.starts["default"][k]) for k in self.ks}}
        if self.setup.should_stop():
            return default
        return default | {
            RUNNER_UP: {k: (self._choose(row[1].entry), row[1].best(k)) for k, row in self.raced.items()}}

    @cached_property
    def held_out_memo(self) -> MemoByK:
        """The held-out samples, each k under its winner; all of the contenders' count."""
        return MemoByK({k: self._choose(row[0].entry) for k, row in self.raced.items()},
                       (memo for of_k in self.contenders.values() for memo, _ in of_k.values()))

    def mechanism(self, k: int, winner: str) -> Entry:
        """Of a schedule by its name among the entries on held-out samples."""
        if winner in self.contenders:
            return self._default(k) if winner == DEFAULT else self.raced[k][1].entry
        return self.raced[k][0].entry

    @property
    def shared(self) -> int:
        """Evaluations that rollouts took from common prefixes instead of the network."""
        return sum(memo.unshared - memo.evaluations for memo in (self.memo, self.held_out_memo))

    def _entrants(self, k: int) -> list[Entry]:
        found, default = self._all(k), self._default(k)
        return sorted(found, key=lambda entry: entry != default)[:self._most[0]] if self._races else found

    def _all(self, k: int) -> list[Entry]:
        return entrants(self.setup.request, k, self._default(k), self.setup.gram is not None)

    def _default(self, k: int) -> Entry:
        return default_mechanism(len(self.evaluations), k, self.own_rules)

    def _mechanism(self, entry: Entry):
        return self.setup.using(entry).mechanism(self.evaluations)

    def _learn(self, entry: Entry) -> Memo:
        return self._memo("costs", entry, self.uncached, "learn")

    def _choose(self, entry: Entry) -> Memo:
        return self._memo("held-out", entry, self.held_out, "choose")

    def _memo(self, name: str, entry: Entry, of: References, objective: str) -> Memo:
        """Made once, because it keeps a file of the checkpoint open."""
        if (name, entry) not in self._memos:
            setup = self.setup.using(entry)
            rollouts = setup.rollouts(self.evaluations, of, getattr(setup.objectives, objective), self.shares)
            self._memos[name, entry] = setup.memo(name, rollouts, of, objective)
        return self._memos[name, entry]
