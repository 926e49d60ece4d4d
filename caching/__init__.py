"""How an evaluation is skipped: runs, cache points and mechanisms. Knows ComfyUI, and no policy."""

from .answers import Answers
from .attach import attach, settings_of
from .mechanisms import NAMES as MECHANISMS
from .report import Report, report_of, reports_of
from .run import CACHE_POINTS, Settings

__all__ = [
    "CACHE_POINTS", "MECHANISMS", "Answers", "Report", "Settings", "attach", "report_of", "reports_of", "settings_of"]
