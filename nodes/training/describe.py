"""What ReCache Frontier and Train say once they have run, as lines in the artist's language."""

from __future__ import annotations

from ..server.wording import figures_text, mechanism_text, reason_text, text
from .mechanism_race import label
from .quality_curve import Curve, Point
from .request import Entry, Outcome

REAL_MODEL_SECONDS = 0.5


def pace(curve: Curve, point: Point, language: str = "en") -> str:
    """The speed-up over the uncached run, such as "3.1x faster"."""
    speedup = f"{curve.speedup(point):.1f}"
    kind = "same" if speedup == "1.0" else "faster" if float(speedup) > 1 else "slower"
    return text(f"frontier.{kind}", language, speedup=speedup)


def summary(curve: Curve, language: str = "en") -> str:
    """The knee and what it gives."""
    if curve.knee is None:
        return text("frontier.no_knee", language)
    point = curve.cached[curve.knee]
    return text("frontier.knee", language, budget=f"{curve.knee:g}", pace=pace(curve, point, language),
                seconds=f"{point.seconds:.3g}", uncached=f"{curve.uncached.seconds:.3g}")


def describe_curve(curve: Curve, language: str = "en") -> str:
    """The curve as lines; the first is the summary."""
    def line(point: Point) -> str:
        return text("frontier.point", language, pace=pace(curve, point, language), k=point.computed,
                    n=curve.evaluations, seconds=f"{point.seconds:.3g}",
                    figures=figures_text(point.figures, curve.metric.name, language))

    lines = [summary(curve, language),
             text("frontier.uncached", language, n=curve.evaluations, seconds=f"{curve.uncached.seconds:.3g}")]
    for budget, point in curve.cached.items():
        lines.append(f"{budget:g}: {line(point)}")
        if budget in curve.fewer:
            lines.append(text("frontier.fewer", language, point=line(curve.fewer[budget])))
    return "\n".join([*lines, mechanism_text(curve.report, language),
                      *(reason_text(note, language) for note in curve.notes)])


def mechanisms_text(mechanisms: dict[int, Entry]) -> str:
    """Of {k: mechanism and order}: "taylor 1", or "hermite 1 (4, 6), taylor 1 (10)" where they differ."""
    labels = {k: label(*entry) for k, entry in mechanisms.items()}
    ks_of = {name: [str(k) for k in labels if labels[k] == name] for name in labels.values()}
    if len(ks_of) == 1:
        return next(iter(ks_of))
    return ", ".join(f"{name} ({', '.join(ks)})" for name, ks in ks_of.items())


def describe_training(outcome: Outcome, language: str = "en") -> str:
    """A training as lines; the first is the gist."""
    def say(key: str, **values) -> str:
        return text(f"trained.{key}", language, **values)

    def name(of: str) -> str:
        return say(f"name_{of.replace(' ', '_')}")

    def time(seconds: float) -> str:
        return say("minutes", n=f"{seconds / 60:.0f}") if seconds >= 90 else say("seconds", n=f"{seconds:.0f}")

    about, table, used = outcome.policy.about, outcome.table, mechanisms_text(outcome.mechanisms)
    saved = [1.0 - row[outcome.learned.winners[k]] / row["default"] for k, row in table.items() if row["default"] > 0]
    percent = round(100 * sum(saved) / len(saved)) if saved else 0
    gist = say("gist" if percent > 0 else "no_better" if saved else "exact", percent=percent, measure=about.reward)
    taken = sum(outcome.evaluations.values())
    parts = ", ".join(say(f"spent_{of.replace(' ', '_')}", count=f"{count:,}")
                      for of, count in outcome.evaluations.items())
    lines = [gist,
             say("how", mechanism=used, point=about.cache_point, taken=f"{taken:,}", parts=parts,
                 time=time(about.training["seconds"])),
             say("real", seconds=REAL_MODEL_SECONDS, time=time(taken * REAL_MODEL_SECONDS)),
             say("shared", count=f"{outcome.shared:,}")]
    if "mechanisms tried" in about.training:
        lines.insert(1, say("chosen", mechanism=used, tried=about.training["mechanisms tried"]))
    for k, row in table.items():
        costs = ", ".join(f"{name(of)} {cost:.4g}" for of, cost in row.items() if of != "policy")
        lines.append(say("budget", k=k, n=outcome.n, winner=name(outcome.learned.winners[k]), costs=costs))
        lines.append(say("schedule", evaluations=outcome.learned.schedules[k]))
    return "\n".join([*lines, *(reason_text(note, language) for note in outcome.notes)])
