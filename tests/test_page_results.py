"""ReCache Report, Compare, Frontier and Train on ComfyUI's real page: readable at their first size."""

from __future__ import annotations

import pytest

from tests.hosting.browser import PAGES
from tests.hosting.prompts import install_models, sampling, training

BUDGET, REPORT, COMPARE, FRONTIER, TRAIN = 8, 10, 15, 16, 17
LEAST = {"ReCacheReport": 440, "ReCacheCompare": 560, "ReCacheFrontier": 600, "ReCacheFrontierCustom": 600,
         "ReCacheTrain": 600, "ReCacheTrainCustom": 600, "ReCacheTrainTwoModels": 600}  # pixels of width
# Of the text on a node: its lines, how they are broken, and the part of its height that is seen.
TEXT = """(id) => {
  const { element } = app.graph.getNodeById(id).widgets.find(({ name }) => name === 'result');
  return [element.innerText.split('\\n'), getComputedStyle(element).whiteSpace,
          Math.min(1, element.clientHeight / element.scrollHeight)];
}"""
# In Nodes 2.0: from the lower edge of the text, or of Train's panel, to the picture, in the canvas's pixels.
BAND = """(id) => {
  const above = app.graph.getNodeById(id).widgets.findLast(({ element }) => element).element;
  const picture = document.querySelector(`[data-node-id='${id}'] img[data-testid=main-image]`);
  const drawn = picture.naturalHeight * Math.min(
    picture.clientWidth / picture.naturalWidth, picture.clientHeight / picture.naturalHeight);
  const scale = app.canvas.ds.scale, { top, height } = picture.getBoundingClientRect();
  return (top + (height - drawn * scale) / 2 - above.getBoundingClientRect().bottom) / scale;
}"""
# Whether a live preview is on a node.
PREVIEW = """(id) => {
  const { element } = app.graph.getNodeById(id).widgets.find(({ name }) => name === 'preview');
  return !element.firstChild.hidden && parseFloat(element.style.minHeight) > 100;
}"""
# How wide the node's own picture, and not a preview, is drawn, in the canvas's pixels, as a share of its own width.
SCALE = {
    "nodes2": """(id) => {
      const picture = document.querySelector(`[data-node-id='${id}'] img[data-testid=main-image]`);
      if (!picture?.naturalWidth || picture.src.startsWith('blob:')) return 0;
      const { width, height } = picture.getBoundingClientRect();
      return Math.min(width / picture.naturalWidth, height / picture.naturalHeight) / app.canvas.ds.scale;
    }""",
    "classic": """(id) => {
      const node = app.graph.getNodeById(id), [picture] = node.imgs ?? [];
      const widget = node.widgets.find(({ name }) => name === '$$canvas-image-preview');
      if (!picture?.naturalWidth || picture.src.startsWith('blob:') || !widget?.computedHeight) return 0;
      return Math.min(node.size[0] / picture.naturalWidth, widget.computedHeight / picture.naturalHeight);
    }""",
}


def workflow() -> dict:
    """The demo model cached and uncached, with Report, Compare, Frontier and a short training."""
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
        str(TRAIN): {"class_type": "ReCacheTrain", "inputs": {
            **training(evaluations=100, budgets="0.34, 0.5, 0.67", minutes=0.0)["5"]["inputs"], **uncached}},
    }


@pytest.fixture
def previews(page):
    """Live previews are on; the page notes as `previewed` the nodes on which it has shown them."""
    page.setting("Comfy.Execution.PreviewMethod", "latent2rgb")
    page.evaluate("() => { window.previewed = new Set(); window.onPreview = ({ detail }) => "
                  f"{{ if (({PREVIEW})(Number(detail.node))) window.previewed.add(detail.node) }}; "
                  "app.api.addEventListener('recache.preview', window.onPreview) }")
    yield
    page.evaluate("() => app.api.removeEventListener('recache.preview', window.onPreview)")
    page.setting("Comfy.Execution.PreviewMethod", "default")


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
@pytest.mark.usefixtures("previews")
def test_what_a_run_says_can_be_read(page, page_server, frontend):
    install_models(page_server.models)
    page.load(workflow())
    page.load(page.workflow())  # as a file of the page's own, with an id
    page.queue(600)
    page.wait("(nodes) => nodes.every((node) => window.previewed.has(node))", [str(FRONTIER), str(TRAIN)])
    assert not any(page.evaluate(PREVIEW, node) for node in (FRONTIER, TRAIN))  # but the nodes' own pictures
    for node, name in ((REPORT, "report"), (COMPARE, "compare"), (FRONTIER, "frontier"), (TRAIN, "train")):
        seen = f"result-{name}-{frontend}", node, 0.7 if node in (FRONTIER, TRAIN) else 1.0
        page.screenshot(*seen)  # a picture is loaded when its node comes into view
        page.wait(f"(id) => ({SCALE[page.renderer]})(id) > 0.38", node)  # its letters are 21 pixels high and more
        page.screenshot(*seen)
        assert page.renderer == "classic" or page.evaluate(BAND, node) < 90
        if node == TRAIN:
            continue
        lines, white_space, seen = page.evaluate(TEXT, node)
        assert len(lines) > 1 and white_space == "pre-line" and all(line.strip() for line in lines), lines
        assert seen > 0.9 or len(lines) > 9
        assert page.evaluate("(id) => app.graph.getNodeById(id).widgets.filter(({ name }) => "
                             "name === '$$node-text-preview').length", node) == 0
    said = page.evaluate(TEXT, REPORT)[0]
    assert said[0].startswith("3 of 6 computed") and page.evaluate(TEXT, FRONTIER)[0][0].startswith(("Knee", "No knee"))
    slides(page)
    knee_is_a_preset(page)
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait("() => app.graph.nodes.length === 0")
    page.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    page.wait("(id) => app.graph.getNodeById(id)?.widgets.some(({ name }) => name === 'result')", REPORT)
    page.wait(f"([id, said]) => ({TEXT})(id)[0].join() === said.join()", [REPORT, said])


def slides(page) -> None:
    """The slider of ReCache Compare, with mouse and keyboard."""
    page.screenshot("result-slider", COMPARE)
    slider = page.tab.locator(".recache-slider")
    page.wait("() => [...document.querySelectorAll('.recache-slider img')].every(({ naturalWidth }) => naturalWidth)")
    before, after = slider.locator("img").evaluate_all("(pictures) => pictures.map(({ src }) => src)")
    assert before != after
    box = slider.bounding_box()
    assert box["height"] > 250
    page.tab.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    assert slider.get_attribute("aria-valuenow") == "25"
    assert "75%" in slider.locator(".before").evaluate("(picture) => picture.style.clipPath")
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuenow") == "30"


def knee_is_a_preset(page) -> None:
    """What ReCache Frontier has found is a button on the strip."""
    told = page.evaluate(TEXT, FRONTIER)[0][0]
    button = page.tab.locator(".recache-strip button", has_text="Knee")
    if told.startswith("No knee"):
        assert not button.is_visible()
        return
    page.screenshot("result-knee", BUDGET)
    button.click()
    assert told.startswith(f"Knee at budget {page.widget(BUDGET, 'budget'):g}: ")


@pytest.mark.parametrize("kind", ["ReCacheReport", "ReCacheFrontier"])
def test_the_text_is_not_saved_or_sent(page, kind):
    node = page.add(kind)
    assert "result" not in page.prompt()[str(node)]["inputs"]
    values = page.workflow()["nodes"][0].get("widgets_values") or []
    assert None not in values and len(values) == page.evaluate(
        "(id) => app.graph.getNodeById(id).widgets.filter(({ serialize }) => serialize !== false).length", node)
