"""The workflows that ship: found under Templates, whole on a stock host, the host's own settings, and they run."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from PIL import Image
from simpleeval import simple_eval

from tests.authoring import stand_ins
from tests.authoring.catalogue import HUB, WORKFLOWS, Workflow
from tests.bench import usage
from tests.bench.own_workflow import write_video
from tests.hosting.browser import PAGES
from tests.hosting.provision import DEFAULT_HOST
from tests.hosting.server import PACK
from tests.hosting.session import ROOT

NOTES = {"Note", "MarkdownNote"}
EACH = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
# Where a sampler has no ReCache, on purpose: what feeds it.
UNCACHED = {"SDXL text to image": {"CheckpointLoaderSimple"}, "Compare cached and uncached": {"UNETLoader"},
            "LTX-2 text to video": {"LoraLoaderModelOnly"}, "LTX-2.3 text to video": {"LoraLoaderModelOnly"}}
BUDGETS = {"ReCacheBudget", "ReCacheBudgetTwoModels"}
BY_NAME = {workflow.name: workflow for workflow in WORKFLOWS}


def saved(workflow: Workflow) -> dict[str, Any]:
    """The file as it ships."""
    return json.loads((ROOT / "workflows" / f"{workflow.name}.json").read_text(encoding="utf-8"))


def levels(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The workflow and its subgraphs."""
    return [graph, *graph.get("definitions", {}).get("subgraphs", [])]


def inside(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of all levels, but for those that are subgraphs."""
    own = {level["id"] for level in levels(graph)}
    return [node for level in levels(graph) for node in level["nodes"] if node["type"] not in own]


def links(level: dict[str, Any]) -> Iterator[tuple[int, int, str]]:
    """(source, target, type) of the links of one level; a subgraph's own inputs and outputs have negative ids."""
    for link in level["links"]:
        yield (link["origin_id"], link["target_id"], link["type"]) if isinstance(link, dict) else (
            link[1], link[3], link[5])


@pytest.fixture(scope="session")
def models(host, tmp_path_factory):
    """A folder with stand-ins for all model files."""
    folder = tmp_path_factory.mktemp("models")
    stand_ins.make(folder, tmp_path_factory.mktemp("families"))
    return folder


@pytest.fixture
def opened(page, page_server, models):
    """The page of a server with the stand-ins, and with a picture and a video where an artist has them."""
    if not (page_server.base / "input" / "example.png").exists():
        shutil.copytree(models, page_server.models, dirs_exist_ok=True, copy_function=os.link)
        Image.radial_gradient("L").convert("RGB").save(page_server.base / "input" / "example.png")
        write_video(page_server.base / "input" / "video.mp4", torch.rand(8, 3, 64, 64), 8.0)
        page.evaluate("() => app.refreshComboInNodes()")
    return page


def open_template(page, name: str, module: str = PACK) -> None:
    """Opens a template as a click in the Templates dialog does."""
    address = f"/templates/{name}.json" if module == "default" else f"/api/workflow_templates/{module}/{name}.json"
    page.evaluate(
        "async (address) => { const graph = await (await fetch(address)).json(); "
        "await app.loadGraphData(graph, true, true, 'template', { openSource: 'template' }) }", address)
    page.settle()


# The files


def test_the_files_are_the_catalogue():
    assert {path.stem for path in ROOT.glob("workflows/*.json")} == set(BY_NAME)
    assert {path.name for path in ROOT.glob("workflows/*")} == {
        f"{name}{ending}" for name in BY_NAME for ending in (".json", ".jpg")}


def test_the_ten_families_that_are_used_most_have_one():
    """By the usage counts of ComfyUI's own templates."""
    shown = {family.title for workflow in WORKFLOWS for file in workflow.files
             if workflow.template and (family := usage.family_of(file.name))}
    assert set(list(usage.runs())[:10]) <= shown


@EACH
def test_nodes_settings_and_notes_are_the_catalogues(workflow):
    nodes = inside(saved(workflow))
    kinds = sorted(node["type"] for node in nodes if node["type"] not in NOTES)
    assert kinds == sorted(kind for kind, _ in workflow.nodes.values())
    notes = {node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote"}
    assert notes == {workflow.note, workflow.models}
    kept = {(file["name"], file["url"], file["directory"]) for node in nodes
            for file in node["properties"].get("models", ())}
    assert kept == {(file.name, HUB + file.url, file.directory) for file in workflow.files}


@EACH
def test_recache_goes_last_before_the_sampler(workflow):
    models = []
    for level in levels(saved(workflow)):
        kinds = {node["id"]: node["type"] for node in level["nodes"]}
        models += [(kinds[source], kinds[target]) for source, target, kind in links(level) if kind == "MODEL"]
    into = {"KSampler", "KSamplerAdvanced", "SamplerCustom", "BasicGuider", "CFGGuider"}
    after = {target for source, target in models if source in BUDGETS}
    assert after and after <= into | {"ReCacheReport"}
    before = {source for source, target in models if target in into}
    (budget,) = {source for source, _ in models} & BUDGETS
    assert before == {budget} | UNCACHED.get(workflow.name, set())
    assert {source for source, target in models if target == "ReCacheReport"} == {budget}


@EACH
def test_a_subgraph_shows_what_an_artist_sets(workflow):
    """One subgraph, with a note beside it; what is loaded and saved stays outside."""
    graph = saved(workflow)
    if not workflow.subgraph:
        assert len(levels(graph)) == 1
        return
    _, subgraph = levels(graph)
    assert {node["type"] for node in graph["nodes"]} <= {subgraph["id"], *NOTES, "LoadImage", "LoadVideo", "SaveImage",
                                                   "SaveVideo"}
    (outer,) = (node for node in graph["nodes"] if node["type"] == subgraph["id"])
    promoted = {given["name"] for given in outer["inputs"] if given.get("widget")}
    steps = {name for kind, inputs in workflow.nodes.values() for name in inputs.keys() & {"steps"}}
    assert promoted == workflow.promoted.keys() >= {"prompt", "budget", "seed"} | steps


@EACH
def test_nothing_overlaps(workflow):
    for level in levels(saved(workflow)):
        boxes = {node["id"]: (node["pos"][0], node["pos"][1] - 30, node["pos"][0] + node["size"][0],
                              node["pos"][1] + node["size"][1]) for node in level["nodes"]}
        assert overlaps(boxes) == []
        # From left to right: a link never goes back to an earlier column.
        left = {number: box[0] for number, box in boxes.items()}
        assert all(left[source] <= left[target] for source, target, _ in links(level) if min(source, target) >= 0)


def overlaps(boxes: Mapping[Any, tuple[float, float, float, float]]) -> list[tuple]:
    """Pairs of boxes (left, top, right, bottom) that share some place."""
    def overlap(a, b):
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

    return [(a, b) for i, a in enumerate(boxes) for b in list(boxes)[:i] if overlap(boxes[a], boxes[b])]


@EACH
def test_letters_stand_out_from_their_nodes(workflow):
    """At least 4.5:1, in ComfyUI's own grey; groups draw their title on its own colour and can't be read as well."""
    letters = [(0x99,) * 3, (0xAA,) * 3]  # of titles, of inputs and outputs
    for level in levels(saved(workflow)):
        for node in level["nodes"]:
            for name, color in zip(("color", "bgcolor"), letters):
                if given := node.get(name):
                    assert contrast(given, color) >= 4.5, (node["type"], given)


def contrast(background: str, letters: tuple[int, int, int]) -> float:
    """Of a colour such as "#232" and letters on it, as WCAG 2 defines it."""
    digits = background[1:] if len(background) == 7 else "".join(2 * digit for digit in background[1:])

    def luminance(rgb):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))

    dark, light = sorted((luminance(bytes.fromhex(digits)), luminance(letters)))
    return (light + 0.05) / (dark + 0.05)


@EACH
def test_thumbnails_are_small_squares(workflow):
    path = ROOT / "workflows" / f"{workflow.name}.jpg"
    assert path.stat().st_size < 40_000
    with Image.open(path) as image:
        assert image.format == "JPEG" and image.size == (480, 480)


# As ComfyUI serves and shows them


@EACH
def test_the_server_offers_it_under_templates(workflow, server, client):
    assert workflow.name in client.get("/workflow_templates")[PACK]
    for ending, kind in (("json", "application/json"), ("jpg", "image/jpeg")):
        with urlopen(f"{server.url}/api/workflow_templates/{PACK}/{quote(workflow.name)}.{ending}") as answer:
            assert answer.headers.get_content_type() == kind
            assert answer.read() == (ROOT / "workflows" / f"{workflow.name}.{ending}").read_bytes()


@PAGES
def test_it_is_found_under_templates_with_its_picture(opened):
    opened.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = opened.tab.get_by_role("dialog")
    dialog.get_by_text(PACK, exact=True).last.click()
    opened.wait("() => [...document.querySelectorAll('[role=dialog] img')].filter((image) => "
                "image.naturalWidth === 480).length >= 6")
    opened.screenshot("templates")
    shown = dialog.inner_text()
    workflow = next(workflow for workflow in WORKFLOWS if workflow.name in shown)
    dialog.get_by_text(workflow.name, exact=True).first.click()
    opened.wait("(count) => app.graph.nodes.length === count", len(saved(workflow)["nodes"]))
    assert opened.tab.get_by_role("dialog").count() == 0


# Whether the headline of the strip says something.
HEAD_SAYS = """(words) => [app.rootGraph, ...app.rootGraph.subgraphs.values()].flatMap(({ nodes }) => nodes)
  .find(({ type }) => ['ReCacheBudget', 'ReCacheBudgetTwoModels'].includes(type)).widgets
  .find(({ name }) => name === 'schedule').element.querySelector('.head').textContent.includes(words)"""


def skip_if_newer(workflow, client, host) -> None:
    """Skip on an older ComfyUI that lacks nodes of this workflow."""
    newer = {kind for kind, _ in workflow.nodes.values()} - client.get("/object_info").keys()
    if newer and host.version != DEFAULT_HOST:
        pytest.skip(f"this ComfyUI has no {', '.join(sorted(newer))}")


@EACH
@PAGES
def test_the_page_opens_it_whole_and_the_server_takes_it(workflow, opened, client, host):
    skip_if_newer(workflow, client, host)
    open_template(opened, workflow.name)
    found = opened.evaluate("""() => [app.rootGraph, ...app.rootGraph.subgraphs.values()]
      .flatMap((graph) => graph.nodes).filter((node) => !node.subgraph).map((node) => ({
        id: String(node.id), type: node.type, known: node.type in LiteGraph.registered_node_types,
        red: Boolean(node.has_errors) || (node.inputs ?? []).some((input) => input.hasErrors),
        open: (node.inputs ?? []).filter((input) => !input.widget && input.link === null
            && input.name in (node.constructor.nodeData?.input?.required ?? {})).map((input) => input.name),
        gone: (node.widgets ?? []).filter((widget) => Array.isArray(widget.options?.values)
            && !widget.options.values.includes(widget.value)).map((widget) => [widget.name, widget.value]),
    }))""")
    assert len(found) == len(workflow.nodes) + 2
    if host.version != DEFAULT_HOST and (gone := [node["gone"] for node in found if node["gone"]]):
        pytest.skip(f"this ComfyUI does not offer {gone}")
    for node in found:
        assert node["known"] and not node["red"] and not node["open"] and not node["gone"], node
    assert opened.tab.get_by_role("dialog").count() == 0  # about missing nodes or models
    if not isinstance(workflow.nodes["budget"][1]["budget"], tuple):
        opened.wait(HEAD_SAYS, f" {workflow.computed} of {workflow.evaluations} computed")
    opened.screenshot(f"workflow-{workflow.name}")
    if opened.renderer == "nodes2":
        assert overlaps(drawn(opened)) == []
        if workflow.subgraph:
            opened.evaluate("() => { const node = app.rootGraph.nodes.find((node) => node.subgraph); "
                            "app.canvas.openSubgraph(node.subgraph, node) }")
            assert overlaps(drawn(opened)) == []
            opened.screenshot(f"workflow-{workflow.name}-inside")
            opened.evaluate("() => app.canvas.setGraph(app.rootGraph)")

    prompt = opened.prompt()
    given = {(kind, name): value for kind, inputs in workflow.nodes.values() for name, value in inputs.items()
             if not isinstance(value, tuple)}
    kept = {(node["class_type"], name) for node in prompt.values() for name in node["inputs"]}
    assert given.keys() <= kept
    with busy(client):
        client.post("/queue", {"delete": [client.queue(prompt)]})


def drawn(page) -> dict[str, tuple[float, float, float, float]]:
    """Where Nodes 2.0 draws the nodes of the open graph, once all are seen: (left, top, right, bottom) in pixels."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    return page.wait("""() => {
        const boxes = app.canvas.graph.nodes.map(({ id }) => {
            const box = document.querySelector(`[data-node-id="${id}"]`)?.getBoundingClientRect();
            return box?.width && [String(id), [box.left, box.top, box.right, box.bottom]];
        });
        const still = JSON.stringify(boxes) === window.drawnBefore;
        window.drawnBefore = JSON.stringify(boxes);
        return still && boxes.every(Boolean) && Object.fromEntries(boxes);
    }""")


class busy:
    """While it lasts, the server works on something long, so that what is queued is checked and then waits."""

    def __init__(self, client):
        self.client = client

    def __enter__(self):
        self.running = self.client.queue({
            "1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
            "2": node("ReCacheTestTextEncode", text="a dog", model="flux"),
            "3": node("EmptySD3LatentImage", width=128, height=128, batch_size=1),
            "4": node("KSampler", model=["1", 0], positive=["2", 0], negative=["2", 0], latent_image=["3", 0],
                      seed=id(self), steps=10000, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0),
            "5": node("PreviewAny", source=["4", 0])})
        self.client.receive(lambda: self.client.progress_of(self.running).executed)

    def __exit__(self, *_):
        self.client.interrupt()
        self.client.wait(self.running)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


# What ComfyUI's own template of the model does

# Inputs whose values are the artist's, and the ones where a workflow is simpler than its template on purpose.
OWN = {"text", "prompt", "seed", "noise_seed", "filename_prefix", "image", "policy", "upload"}
SIMPLER = {
    # Their templates have a node to choose a size by, and MiniMax H3's one for the length.
    "Z-Image text to image": {"width", "height"}, "Krea 2 Turbo text to image": {"width", "height"},
    "Anima text to image": {"width", "height"},
    "MiniMax H3 text to video": {"width", "height", "length"},
    # LTX's halve the size of a picture, and LTX-2.3's makes the length of seconds.
    "LTX-2 text to video": {"width", "height"},
    "LTX-2.3 text to video": {"width", "height", "length", "frames_number"},
    "Qwen-Image-Edit": {"image2"},  # which takes a second picture
    # These begin with a LoRA for 6 steps.
    "Bernini-R image edit": {"switch"}, "SCAIL-2 character replacement": {"switch", "file", "video-preview"},
}


def made_of(prompt: Mapping[str, dict], link: list, own: set[str]) -> Any:
    """What comes out of `link`, as nested tuples; ReCache and switches are looked through, numbers are worked out."""
    source = prompt[link[0]]
    kind, inputs = source["class_type"], source["inputs"]

    def value(given):
        if not isinstance(given, list):
            return round(given, 6) if isinstance(given, float) else given
        return made_of(prompt, given, own)

    if kind in BUDGETS:
        return value(inputs["model" if "model" in inputs else ("high_noise", "low_noise")[link[1]]])
    if kind == "ReCacheReport":
        return value(inputs["samples"])
    if kind == "ComfySwitchNode":
        return value(inputs["on_true" if "switch" not in own and value(inputs["switch"]) else "on_false"])
    if kind == "LoraLoaderModelOnly" and "switch" in own and "step_distill" in inputs["lora_name"]:
        return value(inputs["model"])
    if kind == "LTXVImgToVideoInplace" and value(inputs["bypass"]):
        return value(inputs["latent"])
    if kind.startswith("Primitive"):
        return value(inputs["value"])
    if kind == "ComfyMathExpression":
        names = {name.split(".")[-1]: value(given) for name, given in inputs.items() if name.startswith("values.")}
        return simple_eval(inputs["expression"], names=names, functions={"floor": math.floor})
    return (kind, link[1], *sorted((name, value(given)) for name, given in inputs.items() if name not in own))


def ends(prompt: Mapping[str, dict]) -> Iterator[tuple[str, list]]:
    """What is saved: the input's name, and the link to it."""
    for end in prompt.values():
        if end["class_type"] in ("SaveImage", "SaveImageAdvanced", "SaveVideo"):
            name = "video" if "video" in end["inputs"] else "images"
            yield name, end["inputs"][name]


@pytest.mark.parametrize("workflow", [w for w in WORKFLOWS if w.template], ids=lambda workflow: workflow.name)
def test_it_is_comfyuis_own_template_but_for_recache(workflow, opened, host):
    if host.version != DEFAULT_HOST:
        pytest.skip("the templates belong to the newest ComfyUI")
    own = OWN | SIMPLER.get(workflow.name, set())
    said = len(opened.console)
    open_template(opened, workflow.template, "default")
    stock = [(name, made_of(prompt, link, own)) for prompt in [opened.prompt()] for name, link in ends(prompt)]
    del opened.console[said:]  # what the page says of ComfyUI's own templates
    listed = opened.evaluate("""async (address) => {
        const found = [];
        JSON.stringify(await (await fetch(address)).json(), (_, value) => {
            if (value?.url && value?.directory) found.push([value.name, value.url.split('?')[0], value.directory]);
            return value;
        });
        return found;
    }""", f"/templates/{workflow.template}.json")
    open_template(opened, workflow.name)
    [ours] = [(name, made_of(prompt, link, own)) for prompt in [opened.prompt()] for name, link in ends(prompt)]
    # Which also goes on with a second clip.
    assert ours in stock if workflow.name == "SCAIL-2 character replacement" else [ours] == stock
    assert {(file.name, HUB + file.url, file.directory) for file in workflow.files} <= set(map(tuple, listed))


# They run

# Per input name, what is made small; the tiny models are square and short.
SMALL = {"width": 64, "height": 64, "length": 5, "megapixels": 0.0157, "resize_type.longer_size": 64,
         "evaluations": 100, "samples": 1, "budgets": "0.4"}
STEPS = 12
RUN = [name for name in BY_NAME if re.search("FLUX.1|Wan|Bernini|SDXL|Compare|Choose", name)]


def runnable(prompt: Mapping[str, dict]) -> dict[str, dict]:
    """The prompt for tiny models: smaller, fewer steps, and without what no tiny file can stand in for.

    Text encoders and the CLIP vision model are replaced by the tests' text node and left out; FLUX Kontext's scaler,
    which knows large sizes only, by the stock scaler.
    """
    def of(kind: str) -> str:
        return next((name for part, name in (("flux", "flux"), ("wan", "wan"), ("sd_xl", "sdxl")) if part in kind))

    model = of(next(node["inputs"][name] for node in prompt.values() for name in ("unet_name", "ckpt_name")
                    if name in node["inputs"]))
    total = next(node["inputs"]["steps"] for node in prompt.values() if "steps" in node["inputs"])
    changed = {}
    for key, old in prompt.items():
        kind, inputs = old["class_type"], dict(old["inputs"])
        if kind in ("CLIPLoader", "DualCLIPLoader", "CLIPVisionLoader", "CLIPVisionEncode"):
            continue
        if kind == "CLIPTextEncode":
            kind, inputs = "ReCacheTestTextEncode", {"text": "a fox on a blue background", "model": model}
        if kind == "FluxKontextImageScale":
            kind, inputs = "ImageScale", {"image": inputs["image"], "upscale_method": "area", "width": 64, "height": 64,
                                          "crop": "center"}
        inputs.pop("clip_vision_output", None)
        for name, value in inputs.items():
            if isinstance(value, list):
                continue
            if name in ("steps", "step", "start_at_step", "end_at_step"):
                inputs[name] = min(value, total) * STEPS // total
            elif name in SMALL:
                inputs[name] = SMALL[name] if isinstance(value, str) else min(value, SMALL[name])
        changed[key] = {"class_type": kind, "inputs": inputs}
    return changed


@pytest.mark.parametrize("name", RUN)
def test_it_runs_to_a_picture(name, opened, client, page_server, host):
    skip_if_newer(BY_NAME[name], client, host)
    open_template(opened, name)
    prompt = runnable(opened.prompt())
    result = client.run(prompt).check()
    (end,) = (key for key, node in prompt.items() if node["class_type"] in ("SaveImage", "SaveVideo", "ReCacheCompare"))
    if prompt[end]["class_type"] != "SaveVideo":
        (picture,) = client.images(result, end)
    else:
        assert result.outputs[end]["images"][0]["filename"].endswith(".mp4")
        (decode,) = (key for key, node in prompt.items() if node["class_type"] == "VAEDecode")
        shown = client.run({**prompt, "shown": node("PreviewImage", images=[decode, 0])}).check()
        pictures = client.images(shown, "shown")
        assert len(pictures) == 5
        picture = pictures[-1]
    assert min(picture.size) >= 64 and np.asarray(picture.convert("RGB")).std() > 3.0
    budgets = {key: node["inputs"]["budget"] for key, node in prompt.items() if node["class_type"] in BUDGETS}
    reports = {node["inputs"]["model"][0]: key for key, node in prompt.items() if node["class_type"] == "ReCacheReport"}
    assert budgets and budgets.keys() == reports.keys()
    for key, budget in budgets.items():
        if isinstance(budget, list):
            assert client.images(result, budget[0]) and prompt[budget[0]]["class_type"] == "ReCacheFrontier"
            budget = 0.4
        said = result.outputs[reports[key]]["text"][0]
        computed, n = map(int, re.match(r"(\d+) of (\d+) computed", said).groups())
        assert computed == math.floor(budget * n + 1e-9), said
        assert "unplanned" not in said and "all" not in said.split("\n")[0]
    for key, trained in prompt.items():
        if trained["class_type"] == "ReCacheSavePolicy":
            stem = trained["inputs"]["name"]
            assert result.outputs[key]["text"] == [f"saved as {stem}.safetensors in models/recache"]
            (page_server.models / "recache" / f"{stem}.safetensors").unlink()
