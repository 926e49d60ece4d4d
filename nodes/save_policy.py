"""ReCache Save Policy: a trained policy as a file that artists keep and share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from comfy_api.latest import io

from ..policies.policy_file import SUFFIX, PolicyFile, PolicyFileError, inside, load, save
from .inputs import Policy
from .library import folders, resolve


class ReCacheSavePolicy(io.ComfyNode):
    """Writes a policy into models/recache."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheSavePolicy",
            display_name="ReCache Save Policy",
            category="model/recache",
            description="Saves a trained policy in models/recache, where ReCache lists it. A file of the same "
                        "name is replaced.",
            search_aliases=["export policy", "share policy", "recache"],
            is_output_node=True,
            inputs=[
                Policy.Input("policy", tooltip="From ReCache Train."),
                io.String.Input("name", default="my-policy", tooltip="Such as flux-portraits; folders are allowed."),
                io.String.Input("notes", default="", multiline=True, optional=True,
                                tooltip="Kept in the file: where it comes from, what it is good for."),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, policy: PolicyFile, name: str, notes: str = "") -> io.NodeOutput:
        stem = folders.UNSAFE.sub("_", name.strip().replace("\\", "/")).removesuffix(SUFFIX).rstrip(". ")
        if not stem:
            raise ValueError("ReCache Save Policy: the name is empty; write one, such as flux-portraits.")
        try:
            path = inside(folders.policies_folder(), stem + SUFFIX)
            saved = replace(policy, about=replace(policy.about, name=stem, notes=notes))
            replaced = _holds_another(path, saved)
            instead_of = resolve.displaced(saved, lambda: save(path, saved))
        except ValueError as error:
            raise ValueError(f"ReCache Save Policy: {error}") from None
        file = stem + SUFFIX
        # the page shows a save once: a result from the host's cache has the id of the run that saved
        shown = {"file": file, "replaced": replaced, "instead_of": instead_of, "id": str(uuid4())}
        return io.NodeOutput(ui={"text": (f"saved as {file} in models/recache",), "recache_saved": (shown,)})


def _holds_another(path: Path, policy: PolicyFile) -> bool:
    """Whether there is a file that is not this very policy. (Equal policies may differ in the order of their bytes.)"""
    if not path.is_file():
        return False
    try:
        old = load(path, path.parent)
    except PolicyFileError:
        return True
    return old.about != policy.about or old.policy.schedules != policy.policy.schedules
