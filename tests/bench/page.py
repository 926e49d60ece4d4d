"""What ReCache's strip costs on the page: from a move of the slider to the redrawn strip, and the requests.

The real page in headless Chromium against a real server on this machine, with the demo FLUX model's file connected and
a learned policy chosen. A move sets the slider's widget as the page's own control does; the strip is drawn when its
cells have changed in the document.

Figures, for every renderer and number of steps:
    slider_to_redraw: median milliseconds of single moves; below 50 at 50 steps.
    slowest: the 95th percentile of them.
    requests: questions to the server a second while the slider moves on every frame.
    in_flight: how many of them wait for their answer at once, at most.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from statistics import median, quantiles

from playwright.sync_api import Request

from tests.bench.figures import Figure, publish
from tests.hosting.browser import ComfyPage, comfy_page, launch
from tests.hosting.server import serve
from tests.trained import WEIGHTS

MOVES = 40
STEPS = (20, 50, 200)
# Sets the budget and resolves to the milliseconds until the strip's cells have changed.
MOVE = """(budget) => new Promise((done, failed) => {
  const node = app.graph.nodes.find((node) => node.comfyClass === 'ReCacheBudget');
  const widget = node.widgets.find((widget) => widget.name === 'budget');
  const strip = node.widgets.find((widget) => widget.name === 'schedule').element;
  const start = performance.now();
  const observer = new MutationObserver(() => {
    observer.disconnect();
    done(performance.now() - start);
  });
  observer.observe(strip.querySelector('.computed'), { attributes: true, attributeFilter: ['d'] });
  widget.value = budget;
  widget.callback(budget);
  setTimeout(() => failed(new Error('The strip did not change.')), 5000);
})"""
# Moves the slider on every frame for a second.
DRAG = """() => new Promise((done) => {
  const widget = app.graph.nodes.find((node) => node.comfyClass === 'ReCacheBudget').widgets[0];
  const start = performance.now();
  const frame = () => {
    const passed = performance.now() - start;
    widget.value = 0.1 + 0.8 * Math.min(1, passed / 1000);
    widget.callback(widget.value);
    passed < 1000 ? requestAnimationFrame(frame) : done();
  };
  frame();
})"""


def workflow(steps: int) -> dict[str, dict]:
    """Loader, ReCache and sampler."""
    sampler = {"model": ["2", 0], "seed": 1, "steps": steps, "cfg": 1.0, "sampler_name": "euler",
               "scheduler": "simple", "denoise": 1.0}
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "ReCacheBudget", "inputs": {"model": ["1", 0], "budget": 0.5, "policy": "auto"}},
        "3": {"class_type": "KSampler", "inputs": sampler},
    }


def measured(page: ComfyPage, steps: int) -> Iterator[Figure]:
    """The figures of one number of steps."""
    page.load(workflow(steps))
    page.wait("() => document.querySelector('.recache-strip .computed')?.getAttribute('d')")
    seconds = []
    for move in range(MOVES):
        seconds.append(page.evaluate(MOVE, 0.2 if move % 2 else 0.8))
        page.tab.wait_for_timeout(60)
    cell = {"renderer": page.renderer, "steps": steps}
    yield Figure("slider_to_redraw", median(seconds), "ms", cell)
    yield Figure("slowest", quantiles(seconds, n=20)[-1], "ms", cell)
    waiting = [0]  # requests without an answer, after each event
    for event, change in (("request", 1), ("requestfinished", -1), ("requestfailed", -1)):
        page.tab.on(event, partial(count, waiting, change))
    page.evaluate(DRAG)
    yield Figure("requests", sum(after > before for before, after in pairwise(waiting)), "1/s", cell)
    yield Figure("in_flight", max(waiting), "1", cell)


def count(waiting: list[int], change: int, request: Request) -> None:
    """Notes that a question for a plan was sent (1), or answered (-1)."""
    if request.url.endswith("/recache/plan"):
        waiting.append(waiting[-1] + change)


def figures() -> Iterator[Figure]:
    """All figures."""
    with serve(os.environ["COMFYUI_PATH"]) as server, launch() as browser:
        shutil.copy(WEIGHTS / "flux.safetensors", server.models / "diffusion_models")
        for renderer in ("classic", "nodes2"):
            with comfy_page(browser, server.url, renderer) as page:
                for steps in STEPS:
                    yield from measured(page, steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file for the figures")
    publish(figures(), parser.parse_args().json)
