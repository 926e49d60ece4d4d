"""``nox -s compositions``: what becomes of everything that is combined with ReCache."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from dataclasses import dataclass

import pytest
import torch

BUDGET = 0.3
POINTS = ("output", "blocks")
MOST_ERROR = 1.0  # of the uncached latent's own norm, that a forecast run of a random model may be off


@dataclass(frozen=True)
class Row:
    """One composition at one cache point.

    Attributes:
        identical: whether budget 1.0 gave the uncached latent, to the bit.
        planned, computed: evaluations of the run at BUDGET, and evaluations: all of it.
        point: where it was cached; error: of its latent, relative to the uncached one's norm.
        codes: of the reasons why it was not as planned, and why not at the chosen point.
    """

    identical: bool
    planned: int
    computed: int
    evaluations: int
    point: str
    error: float
    codes: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether exactly the planned evaluations were computed, or a reason says why not."""
        return self.computed == self.planned > 0 or bool(self.codes)

    @property
    def good(self) -> bool:
        """Whether it is as it should be; what another node skips is not ReCache's, as long as it is said."""
        return self.identical and self.kept and (self.error < MOST_ERROR or "another_node_skipped" in self.codes)


def measure(name: str) -> dict[str, Row]:
    """Runs a composition uncached, at budget 1.0, and at BUDGET at both cache points."""
    from recache import caching
    from tests.reliability.compositions import COMPOSITIONS
    from tests.sampling import models, settings

    composition = COMPOSITIONS[name]()
    model = composition.model(models(composition.family)[0])

    def latent(config) -> torch.Tensor:
        attached = model if config is None else composition.attach(model, config)
        torch.manual_seed(5)
        return composition.run()(composition.after(attached))

    plain = latent(None)
    identical = torch.equal(latent(settings(1.0)), plain)
    rows = {}
    for point in POINTS:
        cached = settings(BUDGET, cache_point=point)
        error = float((latent(cached) - plain).norm() / plain.norm())
        rows[point] = _row(identical, point, error, caching.reports_of(cached.identity))
    return rows


def _row(identical: bool, point: str, error: float, reports: list) -> Row:
    """Of the runs with these reports, at the chosen cache point."""
    codes = {reason.code for report in reports for _, reason in report.unplanned}
    codes |= {note.code for report in reports for note in report.notes}
    codes |= {report.cache_point_reason.code for report in reports if report.cache_point not in (point, "none")}
    return Row(identical, sum(len(report.planned) for report in reports),
               sum(len(report.computed) for report in reports), sum(report.evaluations for report in reports),
               ", ".join(sorted({report.cache_point for report in reports})), error, tuple(sorted(codes)))


def cells(name: str, rows: dict[str, Row]) -> list[str]:
    """A line of the table."""
    from recache.caching import CODES
    from recache.nodes.server import wording

    def reason(code: str) -> str:
        return wording.text(f"reasons.{code}", "en", **dict.fromkeys(CODES[code], "..."))

    identical = "yes" if all(row.identical for row in rows.values()) else "**no**"
    said = dict.fromkeys(reason(code) for row in rows.values() for code in row.codes)
    return [name, identical, *(
        f"{row.computed} of {row.evaluations}, off by {row.error:.2f}" + (
            "" if row.point == point else f" (at {row.point})") for point, row in rows.items()), " ".join(said)]


def line(name: str) -> tuple[list[str], bool]:
    """A line of the table, and whether it is as it should be; older hosts lack nodes and models."""
    try:
        rows = measure(name)
    except pytest.skip.Exception as error:
        return [name, "", "", "", str(error)], True
    except Exception as error:  # noqa: BLE001  the others are to be measured all the same
        traceback.print_exc()
        return [name, "", "", "", f"**failed**: {type(error).__name__}"], False
    return cells(name, rows), all(row.good for row in rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="nox -s compositions --", description=__doc__)
    parser.add_argument("names", nargs="*", help="of combinations; without, all are measured")
    parser.add_argument("--write", action="store_true", help="write the table, or the rows, into docs/reliability.md")
    options = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as base:
        from tests.hosting import session
        from tests.reliability.document import table, write_rows, write_section

        session.start(os.environ["COMFYUI_PATH"], base, threads=1)
        import comfy.utils

        from tests.reliability.compositions import COMPOSITIONS

        comfy.utils.set_progress_bar_enabled(False)
        lines = [["with", "1.0 is uncached, to the bit", *(f"0.3 at `{point}`" for point in POINTS), "why"]]
        for name in options.names or COMPOSITIONS:
            made, good = line(name)
            wrong += [] if good else [name]
            lines.append(made)
            print(*made, sep=" | ", flush=True)
    if options.write and options.names:
        write_rows("compositions", lines)
    elif options.write:
        write_section("compositions", table(lines))
    if wrong:
        sys.exit(f"Not as it should be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
