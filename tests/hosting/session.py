"""Sets up a real ComfyUI inside this Python process, on the CPU, and the pack beside it as ``recache``."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL_FOLDERS = ("diffusion_models", "vae", "checkpoints", "loras", "controlnet", "recache")


@dataclass(frozen=True)
class Host:
    """A ComfyUI that runs in this process.

    Attributes:
        version: the release, like ``"0.30.0"``.
        path: the folder of its ``main.py``.
        base: the temporary base directory with its models, input, output and user folders.
    """

    version: str
    path: Path
    base: Path

    @property
    def version_info(self) -> tuple[int, ...]:
        """The release as numbers, for comparisons like ``host.version_info >= (0, 18)``."""
        return tuple(int(part) for part in self.version.split(".")[:3])

    @property
    def models(self) -> Path:
        """The models folder; the host's loaders list what is in its subfolders."""
        return self.base / "models"


_started: Host | None = None


def alias_pack() -> None:
    """Makes the checkout importable as the package ``recache``, whatever its folder is called.

    The root ``__init__.py`` is not run: it needs a host, and ``recache.policies`` must not. Tests of the entry
    point import it from ``recache.nodes``; the server test loads the root file as ComfyUI does.
    """
    if "recache" in sys.modules:
        return
    spec = spec_from_file_location("recache", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    sys.modules["recache"] = module_from_spec(spec)


def start(host_dir: str | Path, base_dir: str | Path, threads: int | None = None, cpu: bool = True) -> Host:
    """Starts the host in this process. A second call returns the first host: its settings are global.

    Args:
        host_dir: the folder of ComfyUI's ``main.py``.
        base_dir: an empty folder that takes the place of ComfyUI's models, input, output and user folders.
        threads: torch threads; None keeps torch's own choice (``OMP_NUM_THREADS`` or the cores).
        cpu: False lets the host choose its device, like a CUDA GPU.
    Raises:
        FileNotFoundError: ``host_dir`` is not a ComfyUI.
        RuntimeError: another host runs in this process, or its modules were imported before this call.
    """
    global _started
    host_dir, base_dir = Path(host_dir).resolve(), Path(base_dir).resolve()
    if not (host_dir / "comfyui_version.py").is_file():
        raise FileNotFoundError(f"{host_dir} is not a ComfyUI folder: point --host-path or COMFYUI_PATH at one.")
    if _started is not None:
        if _started.path != host_dir:
            raise RuntimeError(f"ComfyUI from {_started.path} runs in this process already; start a new process.")
        return _started
    if "comfy.model_management" in sys.modules:
        raise RuntimeError("ComfyUI was imported before it was started; call start() first.")

    alias_pack()
    # The host has top-level modules called nodes, tests, app and utils: its folder goes first.
    sys.path.insert(0, str(host_dir))
    _quiet()

    from comfy.cli_args import args

    args.cpu = cpu
    args.use_pytorch_cross_attention = True  # the CPU default is several times slower
    args.base_directory = str(base_dir)
    args.disable_api_nodes = True
    for folder in MODEL_FOLDERS:
        (base_dir / "models" / folder).mkdir(parents=True, exist_ok=True)

    import torch

    if threads is not None:
        torch.set_num_threads(threads)

    import comfy.model_management  # noqa: F401  (reads the arguments above)
    import comfyui_version
    import utils.json_util  # noqa: F401  (before nodes.py of older releases puts comfy/, with a utils.py, first)
    import nodes  # isort: skip

    if Path(nodes.__file__).parent != host_dir:
        raise RuntimeError(f"ComfyUI's nodes came from {nodes.__file__}; start from a clean Python process.")
    _started = Host(comfyui_version.__version__, host_dir, base_dir)
    return _started


def _quiet() -> None:
    """Keeps the host's start-up talk and other packages' deprecation notices out of the output."""
    logging.getLogger().setLevel(logging.WARNING)
    for module in ("torch", "transformers", "kornia", "torchaudio"):
        warnings.filterwarnings("ignore", module=rf"{module}\b")
