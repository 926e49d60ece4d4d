"""``nox -s faults``: an error at every point of a run, one after the other (see injection).

Whatever happens, nothing of the run may be alive afterwards and the next run must give the same to the bit; memory that
only the cache has taken may end no run, and a cancelled run must end.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections import Counter

from tests.hosting import session
from tests.reliability.document import table, write_rows, write_section


def main() -> None:
    parser = argparse.ArgumentParser(prog="nox -s faults --", description=__doc__)
    parser.add_argument("--settings", nargs="+", metavar="NAME", help="only these; by default all are tried")
    parser.add_argument("--every", type=int, default=1, help="take only every so many-th point")
    parser.add_argument("--write", action="store_true", help="write the table, or the rows, into docs/reliability.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        session.start(os.environ["COMFYUI_PATH"], base, threads=1)
        logging.getLogger().setLevel(logging.ERROR)
        rows, failed = inject_everywhere(options.every, options.settings)
    if options.write and options.settings:
        write_rows("faults", rows)
    elif options.write:
        write_section("faults", table(rows))
    sys.exit(failed)


def inject_everywhere(every: int, names: list[str] | None = None) -> tuple[list[list], bool]:
    """The table of what became of every setting's runs, or of those with these names, and whether one was wrong."""
    import comfy.utils

    from tests.reliability.injection import ERRORS, SETTINGS, Subject

    comfy.utils.set_progress_bar_enabled(False)
    rows, failed = [["setting", "points of a run", "injected", *ERRORS]], False
    for name in names or SETTINGS:
        subject, outcomes = Subject(name), {kind: Counter() for kind in ERRORS}
        for at in range(0, subject.points, every):
            for kind in ERRORS:
                try:
                    outcomes[kind][subject.inject(at, kind)] += 1
                except AssertionError as error:
                    failed = True
                    outcomes[kind]["**wrong**"] += 1
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
        rows.append([name, subject.points, sum(counter.total() for counter in outcomes.values()), *(
            ", ".join(f"{count} {outcome}" for outcome, count in outcomes[kind].most_common()) for kind in ERRORS)])
        print(*rows[-1], sep=" | ", flush=True)
    return rows, failed


if __name__ == "__main__":
    main()
