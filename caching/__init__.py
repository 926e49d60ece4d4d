"""How an evaluation is skipped: runs, cache points and mechanisms. Knows ComfyUI, and no policy."""

from .attach import attach, config_of
from .mechanisms import NAMES as MECHANISMS
from .prefix_cache import PrefixCache
from .report import Report, report_of, reports_of
from .run import CACHE_POINTS, CacheConfig

__all__ = [
    "CACHE_POINTS",
    "MECHANISMS",
    "CacheConfig",
    "PrefixCache",
    "Report",
    "attach",
    "config_of",
    "report_of",
    "reports_of",
]
