"""How an evaluation is skipped: runs, cache points and mechanisms. Knows ComfyUI, and no policy."""

from .attach import attach, config_of
from .mechanisms import NAMES as MECHANISMS
from .prefix_cache import PrefixCache
from .reasons import CODES, Reason
from .report import Report, report_of, reports_of
from .settings import AUTO, CACHE_POINTS, CacheConfig, RunSettings

__all__ = [
    "AUTO",
    "CACHE_POINTS",
    "CODES",
    "MECHANISMS",
    "CacheConfig",
    "PrefixCache",
    "Reason",
    "Report",
    "RunSettings",
    "attach",
    "config_of",
    "report_of",
    "reports_of",
]
