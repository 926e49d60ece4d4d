"""Which cache points work with which model family: makes the README's table.

Every family's smallest model samples in the real host with each cache point asked for; what counts is which blocks
and networks really ran.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.hosting import session
from tests.tiny.families import FAMILIES

README = Path(__file__).resolve().parents[2] / "README.md"
TABLE = re.compile(r"(<!-- families -->\n).*?(<!-- /families -->)", re.DOTALL)
COMPUTED = {0, 3, 4}
EVALUATIONS = 7


@cache
def traced(name: str, cache_point: str):
    """The Trace of a run of this family that computes COMPUTED of EVALUATIONS, with `cache_point` chosen."""
    from tests.sampling import run, settings

    return run(name, settings(computed=COMPUTED, cache_point=cache_point), steps=EVALUATIONS, cfg=4.0)


def works(name: str, cache_point: str) -> tuple[bool, str]:
    """Whether a cached run of this family takes features at `cache_point` and skips what it should, or why not."""
    from recache.nodes.server.wording import reason_text

    trace = traced(name, cache_point)
    report = trace.report
    if report.cache_point != cache_point:
        why = reason_text(report.cache_point_reason).rstrip(".")
        return False, why[:1].lower() + why[1:]
    if report.notes or report.unplanned or set(trace.computed) != COMPUTED:
        return False, " ".join(map(reason_text, report.notes)) or "what ran is not what was planned"
    return bool(trace.samples.isfinite().all()), ""


def table() -> str:
    """The Markdown table."""
    rows = []
    for name, family in FAMILIES.items():
        (blocks, why), (output, _) = works(name, "blocks"), works(name, "output")
        rows.append(f"| {family.title} | {'yes' if blocks else 'no: ' + why} | {'yes' if output else 'no'} |\n")
    return "| Model | `blocks` | `output` |\n| --- | --- | --- |\n" + "".join(rows)


def write(text: str, made: str) -> str:
    """`text` with `made` between the table's markers."""
    return TABLE.sub(lambda match: match[1] + made + match[2], text)


def main() -> None:
    """Writes the table into the README."""
    import os
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="comfyui-") as base:
        session.start(os.environ["COMFYUI_PATH"], base)
        README.write_text(write(README.read_text(), table()))
    print(f"The table of families is in {README}.")


if __name__ == "__main__":
    main()
