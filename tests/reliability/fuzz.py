"""``nox -s fuzz``: policy files, policies inside workflows and every route, for some minutes of processor time each.

Nothing may crash, hang or take longer than a second of processor time. Every case has a seed of its own, so that what
is found can be done again: ``--case``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from random import Random

from tests.hosting.server import serve
from tests.reliability.document import table, write_rows, write_section
from tests.reliability.hostile_policies import hostile, use
from tests.reliability.hostile_requests import Target, embedded_case, route_case
from tests.trained import WEIGHTS

TARGETS = ("policies", "embedded", "routes")
MOST_SECONDS = 1.0  # of processor time, that a case may take


@dataclass
class Found:
    """What became of the cases of one target.

    Attributes:
        outcomes: how often each.
        failures: number of the case and what it raised.
        cpu: seconds of processor time, all cases together. slowest: seconds and number of the slowest case.
    """

    outcomes: Counter = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    cpu: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)

    @property
    def cases(self) -> int:
        """How many there were."""
        return self.outcomes.total() + len(self.failures)


@contextmanager
def asked_server() -> Iterator[Target]:
    """A server that has nothing but the pack and a model; it must be whole afterwards."""
    with serve(os.environ["COMFYUI_PATH"], threads=1, timeout=1200) as server:
        shutil.copy(WEIGHTS / "flux.safetensors", server.models / "diffusion_models" / "plan_flux.safetensors")
        yield Target(server)
        assert server.process.poll() is None and "Traceback" not in server.log(), server.log()[-3000:]


Case = Callable[[Random], Callable[[], str]]


def cases(name: str, target: Target | None) -> tuple[Case, Callable[[], float]]:
    """What prepares one case of that name, and the seconds of processor time that were used so far."""
    if target is None:
        return lambda rng: partial(use, rng, hostile(rng)), time.process_time
    case = embedded_case if name == "embedded" else route_case
    return lambda rng: partial(case, rng, target), target.cpu_seconds


def fuzz(case: Case, cpu_seconds: Callable[[], float], name: str, first: int = 0,
         goes_on: Callable[[Found], bool] = lambda found: False) -> Found:
    """Does cases from number `first` on, at least one, for as long as `goes_on`; ten failures end it."""
    found, number = Found(), first
    while True:
        prepared = case(Random(f"{name} {number}"))
        before = cpu_seconds()
        try:
            found.outcomes[prepared()] += 1
        except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
            found.failures.append((number, traceback.format_exc()))
        took = cpu_seconds() - before
        found.cpu += took
        found.slowest = max(found.slowest, (took, number))
        number += 1
        if len(found.failures) == 10 or not goes_on(found):
            return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time, for each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="do one case again, and nothing else")
    parser.add_argument("--write", action="store_true", help="write the table, or the rows, into docs/reliability.md")
    options = parser.parse_args()
    rows, failed = [["target", "processor minutes", "cases", "outcomes", "slowest case"]], False
    for name in options.targets:
        with nullcontext() if name == "policies" else asked_server() as target:
            case, cpu_seconds = cases(name, target)
            first = options.first if options.case is None else options.case
            found = fuzz(case, cpu_seconds, name, first, lambda found: (
                options.case is None and found.cpu < 60 * options.minutes))
            for number, trace in found.failures:
                print(f"{name} --case {number}\n{trace}", file=sys.stderr)
            seconds, number = found.slowest
            failed |= bool(found.failures) or seconds > MOST_SECONDS
            outcomes = ", ".join(f"{count} {outcome}" for outcome, count in found.outcomes.most_common())
            rows.append([name, f"{found.cpu / 60:.1f}", found.cases, outcomes, f"{seconds:.2f} s (case {number})"])
            print(*rows[-1], sep=" | ", flush=True)
    if options.write and len(rows) <= len(TARGETS):
        write_rows("fuzz", rows)
    elif options.write:
        write_section("fuzz", table(rows))
    sys.exit(failed)


if __name__ == "__main__":
    main()
