"""The pack's version, as its pyproject.toml states it."""

from __future__ import annotations

import re
from pathlib import Path

_project = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
_found = re.search(r'^version\s*=\s*"([^"]+)"', _project, re.MULTILINE)
VERSION = _found[1] if _found else "unknown"
