"""ReCache Report, Compare, Frontier and Train on ComfyUI's real page: readable at their first size."""

from __future__ import annotations

import pytest

from tests.hosting.browser import PAGES
from tests.hosting.prompts import install_models, sampling

REPORT, COMPARE, FRONTIER = 10, 15, 16
LEAST = {"ReCacheReport": 440, "ReCacheCompare": 560, "ReCacheFrontier": 600, "ReCacheFrontierCustom": 600,
         "ReCacheTrain": 480, "ReCacheTrainCustom": 480}  # pixels of width
# Of the text on a node: its lines, how they are broken, and the part of its height that is seen.
TEXT = """(id) => {
  const { element } = app.graph.getNodeById(id).widgets.find(({ name }) => name === 'result');
  return [element.innerText.split('\\n'), getComputedStyle(element).whiteSpace,
          Math.min(1, element.clientHeight / element.scrollHeight)];
}"""
# How wide the picture on a node is drawn, in the canvas's pixels, as a share of its own width.
SCALE = {
    "nodes2": """(id) => {
      const picture = document.querySelector(`[data-node-id='${id}'] img[data-testid=main-image]`);
      if (!picture?.naturalWidth) return 0;
      const { width, height } = picture.getBoundingClientRect();
      return Math.min(width / picture.naturalWidth, height / picture.naturalHeight) / app.canvas.ds.scale;
    }""",
    "classic": """(id) => {
      const node = app.graph.getNodeById(id), [picture] = node.imgs ?? [];
      const widget = node.widgets.find(({ name }) => name === '$$canvas-image-preview');
      if (!picture?.naturalWidth || !widget?.computedHeight) return 0;
      return Math.min(node.size[0] / picture.naturalWidth, widget.computedHeight / picture.naturalHeight);
    }""",
}


def workflow() -> dict:
    """The demo model cached and uncached, with Report, Compare and Frontier."""
    queued = sampling("uniform")
    given = queued["9"]["inputs"]
    uncached = {**given, "model": ["1", 0]}
    return queued | {
        "5": {"class_type": "VAELoader", "inputs": {"vae_name": "demo_autoencoder.safetensors"}},
        "11": {"class_type": "KSampler", "inputs": uncached},
        "12": {"class_type": "VAEDecode", "inputs": {"samples": ["11", 0], "vae": ["5", 0]}},
        "13": {"class_type": "VAEDecode", "inputs": {"samples": ["10", 0], "vae": ["5", 0]}},
        str(COMPARE): {"class_type": "ReCacheCompare", "inputs": {
            "uncached": ["12", 0], "cached": ["13", 0], "rows": 4, "heat_scale": 0.2}},
        str(FRONTIER): {"class_type": "ReCacheFrontier", "inputs": {
            **uncached, "budgets": "0.34, 0.5, 0.67", "samples": 1, "fewer_steps": True, "policy": "uniform",
            "vae": ["5", 0]}},
    }


@PAGES
def test_new_nodes_are_wide_enough_and_saved_sizes_stay(page, frontend):
    nodes = {kind: page.add(kind, 100, 100) for kind in LEAST}
    sizes = {kind: page.evaluate("(id) => [...app.graph.getNodeById(id).size]", id) for kind, id in nodes.items()}
    assert {kind: size for kind, size in sizes.items() if size[0] < LEAST[kind]} == {}
    saved = page.workflow()
    for node in saved["nodes"]:
        node["size"] = [300, 700]
    page.load(saved)
    for node in page.workflow()["nodes"]:
        assert node["size"][0] == 300, node["type"]


@PAGES
def test_what_a_run_says_can_be_read(page, page_server, frontend):
    install_models(page_server.models)
    page.load(workflow())
    page.load(page.workflow())  # as a file of the page's own, with an id
    page.queue(300)
    for node, name in ((REPORT, "report"), (COMPARE, "compare"), (FRONTIER, "frontier")):
        seen = f"result-{name}-{frontend}", node, 0.7 if node == FRONTIER else 1.0
        page.screenshot(*seen)  # a picture is loaded when its node comes into view
        page.wait(f"(id) => ({SCALE[page.renderer]})(id) > 0.38", node)  # its letters are 21 pixels high and more
        page.screenshot(*seen)
        lines, white_space, seen = page.evaluate(TEXT, node)
        assert len(lines) > 1 and white_space == "pre-line" and all(line.strip() for line in lines), lines
        assert seen > 0.9 or len(lines) > 9
        assert page.evaluate("(id) => app.graph.getNodeById(id).widgets.filter(({ name }) => "
                             "name === '$$node-text-preview').length", node) == 0
    said = page.evaluate(TEXT, REPORT)[0]
    assert said[0].startswith("3 of 6 computed") and page.evaluate(TEXT, FRONTIER)[0][0].startswith(("Knee", "No knee"))
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait("() => app.graph.nodes.length === 0")
    page.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    page.wait("(id) => app.graph.getNodeById(id)?.widgets.some(({ name }) => name === 'result')", REPORT)
    page.wait(f"([id, said]) => ({TEXT})(id)[0].join() === said.join()", [REPORT, said])


@pytest.mark.parametrize("kind", ["ReCacheReport", "ReCacheFrontier"])
def test_the_text_is_not_saved_or_sent(page, kind):
    node = page.add(kind)
    assert "result" not in page.prompt()[str(node)]["inputs"]
    values = page.workflow()["nodes"][0].get("widgets_values") or []
    assert None not in values and len(values) == page.evaluate(
        "(id) => app.graph.getNodeById(id).widgets.filter(({ serialize }) => serialize !== false).length", node)
