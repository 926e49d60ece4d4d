"""The strip of ReCache (Two Models): one plan over both samplers, and both runs in it."""

from __future__ import annotations

import json
import shutil

from tests.hosting.browser import PAGES
from tests.hosting.strip import WATCH, WORKFLOW, until
from tests.trained import WEIGHTS

N, SWITCH = 13, 5


def workflow() -> dict[str, dict]:
    """The demo model twice, in two KSamplerAdvanced."""
    made = json.loads(json.dumps({key: WORKFLOW[key] for key in ("1", "2", "4")}))
    made["3"] = made["1"]
    made["8"] = {"class_type": "ReCacheBudgetTwoModels", "inputs": {
        **WORKFLOW["8"]["inputs"], "high_noise": ["1", 0], "low_noise": ["3", 0], "budget": 0.4}}
    del made["8"]["inputs"]["model"]
    for key, output, latent, begin, end in (("9", 0, ["4", 0], 0, SWITCH), ("10", 1, ["9", 0], SWITCH, 1000)):
        made[key] = {"class_type": "KSamplerAdvanced", "inputs": {
            "model": ["8", output], "positive": ["2", 0], "negative": ["2", 0], "latent_image": latent,
            "add_noise": "disable" if begin else "enable", "noise_seed": 6, "steps": N, "cfg": 1.0,
            "sampler_name": "euler", "scheduler": "simple", "start_at_step": begin, "end_at_step": end,
            "return_with_leftover_noise": "disable" if begin else "enable"}}
    return made | {"11": {"class_type": "ReCacheReport", "inputs": {"samples": ["10", 0], "model": ["8", 1]}}}


@PAGES
def test_the_strip_shows_both_samplers(page, page_server):
    shutil.copy(WEIGHTS / "flux.safetensors", page_server.models / "diffusion_models" / "strip_flux.safetensors")
    page.load(workflow())
    page.load(page.workflow())  # as a file of the page's own, with an id that stays
    planned = until(page, lambda now: now["head"].endswith(f"5 of {N} computed"))
    assert {0, SWITCH} <= set(planned["computed"]) and len(planned["computed"]) == 5
    assert f"All samplers together: {SWITCH} + {N - SWITCH}." in planned["notes"]
    page.evaluate(WATCH)
    page.queue()
    ran = until(page, lambda now: "Measured" in now["result"] and len(now["was-computed"]) == 5)
    assert ran["was-computed"] == planned["computed"] and len(ran["was-forecast"]) == N - 5
    made = [computed + forecast for computed, forecast in page.evaluate("() => window.seen")]
    assert made == sorted(made) and made[-1] == N
    page.screenshot("strip-two-models", 8)
    page.reload()
    again = until(page, lambda now: "Measured" in now["result"])
    assert again["result"] == ran["result"] and again["was-computed"] == planned["computed"]

    page.set_widget(10, "start_at_step", SWITCH + 1)  # the noise levels do not meet: two runs of their own
    apart = until(page, lambda now: now["head"].endswith(f"of {SWITCH} computed"))
    assert "Shown for the first of 2 samplers." in apart["notes"]
