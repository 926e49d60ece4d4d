"""Whose figures the page shows: this workflow's and this latent's, else none."""

from __future__ import annotations

import json
import shutil

from tests.hosting.browser import PAGES
from tests.hosting.strip import WORKFLOW, agrees, until
from tests.trained import WEIGHTS

SAID = "(id) => app.graph.getNodeById(id).widgets.find(({ name }) => name === 'result').element.innerText"


@PAGES
def test_figures_are_of_this_workflow_and_of_this_latent(page, page_server):
    shutil.copy(WEIGHTS / "flux.safetensors", page_server.models / "diffusion_models" / "strip_flux.safetensors")
    workflow = json.loads(json.dumps(WORKFLOW))
    workflow["9"]["inputs"]["steps"] = 11
    workflow["11"] = {"class_type": "LatentUpscaleBy", "inputs": {
        "samples": ["9", 0], "upscale_method": "bilinear", "scale_by": 2.0}}
    workflow["12"] = {"class_type": "ReCacheReport", "inputs": {"samples": ["11", 0], "model": ["8", 0]}}
    page.load(workflow)
    page.load(page.workflow())  # as a file of the page's own, with an id that stays
    planned = agrees(page, 0.3, steps=11)["computed"]
    page.queue()
    until(page, lambda now: "Measured" in now["result"] and now["was-computed"] == planned)
    page.wait(f"() => ({SAID})(10).startsWith('3 of 11 computed')")
    page.wait(f"() => ({SAID})(12).startsWith(\"It can't be told how this latent was made\")")

    other = page.workflow()
    other["id"] = "00000000-0000-4000-8000-000000000011"
    page.load(other)
    now = agrees(page, 0.3, steps=11)
    assert (now["result"], now["was-computed"], now["computed"]) == ("", [], planned)
