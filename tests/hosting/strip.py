"""ReCache's strip, as tests of the page read it."""

from __future__ import annotations

import time

from tests.hosting.browser import ComfyPage

STEPS = 10
WORKFLOW = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "strip_flux.safetensors", "weight_dtype": "default"}},
    "2": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "a dog", "model": "flux"}},
    "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "8": {"class_type": "ReCacheBudget", "inputs": {
        "model": ["1", 0], "budget": 0.3, "policy": "uniform", "evaluations": "", "mechanism": "taylor", "order": 1,
        "cache_point": "auto", "cache_device": "auto"}},
    "9": {"class_type": "KSampler", "inputs": {
        "model": ["8", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["4", 0], "seed": 1,
        "steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}},
    "10": {"class_type": "ReCacheReport", "inputs": {"samples": ["9", 0], "model": ["8", 0]}},
}
QUALITIES = {"broken": "Likely broken", "another": "Maybe another picture", "details": "Small details differ",
             "same": "The same picture"}
# What a strip shows: {kind of cell: numbers}, the lines of text, what a screen reader is told, and whether it is dim.
SHOWN = """(id) => {
  const at = String(id).split(':').reduce(
    (node, id) => (node ? node.subgraph : app.rootGraph ?? app.graph).getNodeById(Number(id)), null);
  const strip = at.widgets.find((widget) => widget.name === 'schedule').element;
  const cells = [...strip.querySelectorAll('path')].map((path) =>
    [path.getAttribute('class'), [...path.getAttribute('d').matchAll(/M(\\d+)/g)].map((m) => Number(m[1]))]);
  const text = (name) => strip.querySelector('.' + name).textContent;
  const bar = [...strip.querySelectorAll('.quality i')].filter((part) => part.className === 'full').length;
  return { ...Object.fromEntries(cells), head: text('head'), quality: text('quality'), bar,
           result: text('result'), notes: text('notes'),
           spoken: strip.querySelector('svg').getAttribute('aria-label'), dim: strip.classList.contains('dim') };
}"""
# Notes in window.seen, whenever the strip is drawn, how many cells were computed and forecast.
WATCH = """() => {
  window.seen = [];
  const strip = app.graph.getNodeById(8).widgets.find((widget) => widget.name === 'schedule').element;
  const cells = (kind) => [...strip.querySelector('.' + kind).getAttribute('d').matchAll(/M(\\d+)/g)].length;
  new MutationObserver(() => window.seen.push([cells('was-computed'), cells('was-forecast')])).observe(
    strip, { subtree: true, attributes: true, attributeFilter: ['d'] });
}"""


def shown(page: ComfyPage, node="8") -> dict:
    return page.evaluate(SHOWN, str(node))


def until(page: ComfyPage, wanted, node="8", seconds: float = 60.0) -> dict:
    """What the strip shows, once `wanted` holds for it.

    Wait for all that is asserted: an answer to an earlier state of the page may have a part of it.
    """
    deadline = time.monotonic() + seconds
    while not wanted(now := shown(page, node)):
        assert time.monotonic() < deadline, now
        page.tab.wait_for_timeout(50)
    return now


def plan(page: ComfyPage, budget: float, node="8", **sampler) -> dict:
    """The server's own plan for node 8, asked without the page."""
    inputs = {"steps": STEPS, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **sampler}
    tree = {"type": "KSampler", "inputs": inputs | {"model": {"type": "UNETLoader", "inputs": {
        "unet_name": "strip_flux.safetensors"}}}}
    asked = {"settings": {"budget": budget, "policy": "uniform"}, "sampler": tree}
    return page.evaluate("(asked) => fetch('/recache/plan', { method: 'POST', body: JSON.stringify(asked), "
                         "headers: { 'Content-Type': 'application/json' } }).then((answer) => answer.json())", asked)


def agrees(page: ComfyPage, budget: float, node="8", **sampler) -> dict:
    """Waits until the strip shows the server's plan."""
    told = plan(page, budget, **sampler)
    expected = {
        "computed": told["computed"],
        "forecast": [i for i in range(told["n"]) if i not in told["computed"]],
        "head": f"{told['speedup']:.1f}x faster, {len(told['computed'])} of {told['n']} computed",
        "quality": QUALITIES[told["quality"]],
        "bar": 1 + list(QUALITIES).index(told["quality"]),
    }
    now = until(page, lambda now: now | expected == now, node)
    assert now["head"] in now["spoken"] and ", ".join(str(i + 1) for i in told["computed"]) in now["spoken"]
    return now
