"""Words for reports and reasons in the artist's language, from locales/<language>/main.json as on the page."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import folder_paths

from ...caching import Reason, Report
from ...policies.metrics.distances import MAX_PSNR
from ...policies.metrics.metric import Figures

LOCALES = Path(__file__).parents[2] / "locales"
LANGUAGES = ("en", "zh", "ja", "ko")


class PageLanguage:
    """The language of the page that last asked for a plan; "" before any has."""

    current = ""


def language() -> str:
    """ComfyUI's language setting, else the page's language; English if the pack is not translated into it."""
    settings = Path(folder_paths.get_user_directory(), "default", "comfy.settings.json")
    try:
        chosen = json.loads(settings.read_text("utf-8")).get("Comfy.Locale")
    except (OSError, ValueError, AttributeError):
        chosen = None
    chosen = chosen or PageLanguage.current
    return chosen if chosen in LANGUAGES else "en"


@cache
def _words(language: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / "main.json").read_text("utf-8"))["recache"]


def text(key: str, language: str, **values: Any) -> str:
    """The words of `key`, such as "report.planned", with its placeholders filled in."""
    section, name = key.split(".")
    return _words(language)[section][name].format(**values)


def reason_text(reason: Reason, language: str = "en") -> str:
    """A reason as a sentence."""
    return text(f"reasons.{reason.code}", language,
                **{name: _value(name, value, language) for name, value in reason.fields.items()})


def _value(name: str, value: Any, language: str) -> Any:
    if isinstance(value, Reason):
        return reason_text(value, language)
    if isinstance(value, list):
        return ", ".join(reason_text(part, language) for part in value)
    return value + 1 if name == "index" else value


def error_text(error: Exception) -> str:
    """The engine's reasons for an error if it has any, else its message."""
    return " ".join(reason_text(reason, language()) for reason in getattr(error, "reasons", ())) or str(error)


def summary(report: Report | None, language: str = "en") -> str:
    """A report in one line. None: of a latent that no known run made."""
    if report is None:
        return text("report.unknown", language)
    if not report.planned:
        why = [reason_text(note, language) for note in report.notes] or [text("report.nothing_cached", language)]
        return f"{text('report.uncached', language, n=report.evaluations)}: {' '.join(why)}"
    parts = [text("report.planned", language, k=len(report.computed), n=report.evaluations,
                  speedup=f"{report.planned_speedup:.1f}")]
    if report.measured_speedup is not None:
        parts.append(text("report.measured", language, speedup=f"{report.measured_speedup:.1f}"))
    if report.unplanned:
        parts.append(text("report.unplanned", language, count=len(report.unplanned)))
    if not report.finished:
        parts.append(text("report.stopped", language))
    return ", ".join(parts)


def mechanism_text(report: Report, language: str = "en") -> str:
    """How a run's evaluations were cached."""
    key = "report.mechanism" if report.order is None else "report.mechanism_order"
    return text(key, language, mechanism=report.mechanism, order=report.order, point=report.cache_point)


def figures_text(figures: Figures, metric: str, language: str = "en") -> str:
    """Figures in one line; `metric` is the name of what the difference is measured by."""
    line = f"{metric} {figures.difference:.4f}"
    if figures.psnr is None:
        return line
    equal = figures.psnr >= MAX_PSNR
    psnr = text("compare.equal", language) if equal else f"PSNR {figures.psnr:.1f} dB"
    return f"{line}, {psnr}, SSIM {figures.ssim:.4f}"


def remarks(report: Report, language: str = "en") -> list[str]:
    """The notes that are not in the summary."""
    return [reason_text(note, language) for note in report.notes] if report.planned else []


def report_text(report: Report | None, language: str = "en") -> str:
    """A report as lines; the first is its summary. None: of a latent that no known run made."""
    lines = [summary(report, language)]
    if report is None:
        return lines[0]
    if report.parts:
        counts = ", ".join(f"{len(part.computed)}/{part.evaluations}" for part in report.parts)
        lines.append(text("report.parts", language, parts=counts))
    if report.cache_point != "none":
        lines.append(f"{mechanism_text(report, language)}: {reason_text(report.cache_point_reason, language)}")
    if report.seconds_computed is not None and report.seconds_cached is not None:
        lines.append(text("report.seconds", language, computed=f"{report.seconds_computed:.3g}",
                          cached=f"{report.seconds_cached:.3g}"))
        lines.append(text("report.saved", language, saved=f"{report.seconds_saved:.1f}",
                          megabytes=f"{report.peak_cache_bytes / 2**20:.1f}"))
    lines += [f"{text('report.computed_unplanned', language, index=index + 1)}: {reason_text(reason, language)}"
              for index, reason in report.unplanned]
    return "\n".join(lines + remarks(report, language))
