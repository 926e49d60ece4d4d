"""The folders of policies and of training checkpoints."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import folder_paths

KIND = "recache"
SHIPPED = Path(__file__).parents[2] / "policies" / "shipped"
MAX_TRAININGS = 20
UNSAFE = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')  # characters that some file system does not accept in a name


def register() -> None:
    """Make ComfyUI list the policies of models/recache, of extra model paths and of the pack itself."""
    own = [str(policies_folder()), str(SHIPPED)]
    others, _ = folder_paths.folder_names_and_paths.get(KIND, ([], set()))
    folders = [own[0], *(path for path in others if path not in own), own[1]]
    folder_paths.folder_names_and_paths[KIND] = (folders, {".safetensors"})


def policies_folder() -> Path:
    """Where ReCache Save Policy writes."""
    return Path(folder_paths.models_dir, KIND)


def policy_names() -> list[str]:
    """The policy files, relative to their folders; of equal names the first folder's is used."""
    return folder_paths.get_filename_list(KIND)


def policy_path(name: str) -> tuple[Path, Path] | None:
    """The folder that holds the policy file `name`, and its path; None if there is none. Both kinds of slash work."""
    path = folder_paths.get_full_path(KIND, name.replace("\\", "/"))
    if path is None:
        return None
    folder = next(f for f in map(Path, folder_paths.get_folder_paths(KIND)) if Path(path).is_relative_to(f))
    return folder, Path(path)


def training_folder(name: str) -> Path:
    """The checkpoint folder of the training `name`; deletes the oldest ones beyond MAX_TRAININGS."""
    root = Path(folder_paths.get_user_directory(), KIND, "training")
    root.mkdir(parents=True, exist_ok=True)
    others = sorted((f for f in root.iterdir() if f.is_dir() and f.name != name), key=lambda f: f.stat().st_mtime)
    for folder in others[: max(0, len(others) - MAX_TRAININGS + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
    return root / name
