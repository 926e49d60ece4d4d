"""Which cache points work with which model family: makes the README's table.

Every family's smallest model samples in the real host: uncached, with a budget of 1.0, and with each cache point asked
for. What counts is which blocks and networks really ran. With names, only these are tried and nothing is written; with
--keep FILE, verdicts are kept there and not found again, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import usage
from tests.hosting import session
from tests.tiny.families import FAMILIES, LEFT_OUT

README = Path(__file__).resolve().parents[2] / "README.md"
TABLE = re.compile(r"(<!-- families -->\n).*?(<!-- /families -->)", re.DOTALL)
COMPUTED = {0, 3, 4}
EVALUATIONS = 7
BOTH = "after its last block, or at its output"
OUTPUT = "at its output"


@dataclass(frozen=True)
class Verdict:
    """What a family's runs showed.

    Attributes:
        blocks: why features can't be taken after the last block; empty where they can.
        faults: what is wrong; empty for a family that is cached as it should be.
    """

    name: str
    blocks: str
    faults: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Where its features are cached, and why not elsewhere: a row of the table."""
        if self.faults:
            return f"not: {'; '.join(self.faults)}"
        return f"{OUTPUT}: {self.blocks}" if self.blocks else BOTH


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
    if report.notes or report.unplanned or set(report.computed) != COMPUTED or ran(trace) != COMPUTED:
        return False, " ".join(map(reason_text, report.notes)) or "what ran is not what was planned"
    return all(bool(part.isfinite().all()) for part in streams(trace.samples)), "the run ends in NaN"


def ran(trace) -> set[int]:
    """Evaluations in which what the cache point skips ran; lists of other blocks, such as a decoder's, run in all."""
    counts = [evaluation.blocks if trace.report.cache_point == "blocks" else evaluation.calls
              for evaluation in trace.evaluations]
    return {i for i, count in enumerate(counts) if count > min(counts)}


def streams(samples) -> list:
    """The tensors of a latent of one stream or several."""
    return samples.unbind() if getattr(samples, "is_nested", False) else [samples]


def exact(name: str) -> bool:
    """Whether a budget of 1.0 gives the uncached latent, to the bit."""
    import torch

    from tests.sampling import run, settings

    whole, full = (run(name, config, steps=3, cfg=4.0).samples for config in (None, settings(1.0)))
    return all(map(torch.equal, streams(whole), streams(full)))


def still(name: str, cache_point: str) -> bool:
    """Whether a forecast equals what the network makes, but for rounding, where neither input nor noise level move."""
    import torch

    from tests.sampling import Script, settings

    script = Script(pace=0.0)
    sigmas = torch.full((6,), 0.5)
    script.run(name, settings(computed={0, 2}, cache_point=cache_point), sigmas, cfg=4.0)
    first = script.answers[0]
    return all(torch.allclose(answer, first, rtol=1e-4, atol=1e-4 * float(first.abs().max()))
               for answer in script.answers)


def verdict(name: str) -> Verdict:
    """What runs of a family show."""
    faults = [] if exact(name) else ["a budget of 1.0 changes the latent"]
    (blocks, why), (output, fault) = works(name, "blocks"), works(name, "output")
    faults += [] if output else [fault]
    faults += [f"a forecast differs at {point} where nothing moves"
               for point, cached in (("blocks", blocks), ("output", output)) if cached and not still(name, point)]
    return Verdict(name, "" if blocks else why, tuple(faults))


def verdicts(names: Iterable[str]):
    """The verdict of every family, each freed before the next one."""
    from tests import sampling

    for name in names:
        try:
            yield verdict(name)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            # one that breaks is a finding, and must not hide the others
            yield Verdict(name, "", (f"{type(error).__name__}: {error}",))
        sampling.models.cache_clear()
        traced.cache_clear()


def table(found: Iterable[Verdict]) -> str:
    """The Markdown table: a row for every place, with the models that are cached there."""
    rows: dict[str, list[str]] = {}
    for one in found:
        rows.setdefault(one.where, []).append(FAMILIES[one.name].title)
    lines = [f"| {where} | {', '.join(rows[where])} |\n" for where in sorted(rows, key=lambda where: where != BOTH)]
    return "| Features are cached | Models |\n| --- | --- |\n" + "".join(lines)


def page(found: Iterable[Verdict]) -> str:
    """The table, what it leaves out, and how much of what artists run it shows."""
    left_out = "".join(f"* {title}: {why}.\n" for title, why in LEFT_OUT.items())
    return f"{table(found)}\n{usage.sentence()}\n\nNot tried:\n\n{left_out}"


def write(text: str, made: str) -> str:
    """`text` with `made` between the table's markers."""
    return TABLE.sub(lambda match: match[1] + made + match[2], text)


def kept(file: Path | None) -> dict[str, Verdict]:
    """The verdicts in a file of an earlier run; none where there is no file."""
    if file is None or not file.exists():
        return {}
    rows = json.loads(file.read_text(encoding="utf-8"))
    return {name: Verdict(name, row["blocks"], tuple(row["faults"])) for name, row in rows.items()}


def main() -> None:
    """Tries the families; writes the table into the README where it tries all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    wanted, found = args.names or list(FAMILIES), kept(args.keep)
    with TemporaryDirectory(prefix="comfyui-") as base:
        session.start(os.environ["COMFYUI_PATH"], base)
        for one in verdicts(name for name in wanted if name not in found):
            found[one.name] = one
            print(f"{one.name}: {one.where}", flush=True)
            if args.keep:
                rows = {name: {"blocks": row.blocks, "faults": row.faults} for name, row in found.items()}
                args.keep.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    tried = [found[name] for name in wanted]
    if not args.names:
        README.write_text(write(README.read_text(), page(tried)))
        print(f"The table of families is in {README}.")
    if faulty := [one.name for one in tried if one.faults]:
        sys.exit(f"not cached as they should be: {', '.join(faulty)}")


if __name__ == "__main__":
    main()
