"""Runs a module of ``tests`` as a program: ``python tests/run.py bench.quality --json FILE``.

It stands where ``python -m tests.bench.quality`` would: ComfyUI has a package ``tests`` and a module ``nodes`` of its
own, so the checkout must not be on ``sys.path``. The pack is importable as ``recache``.
"""

import runpy
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Say which module to run: python tests/run.py demo")
    sys.path.remove(str(FOLDER))
    package = ModuleSpec("tests", None, is_package=True)
    package.submodule_search_locations.append(str(FOLDER))
    sys.modules["tests"] = module_from_spec(package)

    from tests.hosting.session import alias_pack

    alias_pack()
    name = f"tests.{sys.argv.pop(1)}"
    runpy.run_module(name, run_name="__main__", alter_sys=True)
