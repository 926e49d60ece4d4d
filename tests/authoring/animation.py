"""Makes docs/images/strip.webp, the animated picture of ReCache on a run: ``nox -s animation``.

Screenshots of ComfyUI's page as the FLUX-architecture demo model samples: a preset is pressed, the workflow runs, and
the picture appears. The run is faster than screenshots are made, so whatever the strip shows is recorded and put there
again for its screenshot; how long each is shown is chosen, so that a run can be followed.
"""

from __future__ import annotations

from io import BytesIO
from os import environ

from PIL import Image

from tests.authoring import thumbnails
from tests.hosting import browser
from tests.hosting.server import serve
from tests.hosting.session import ROOT

FILE = ROOT / "docs" / "images" / "strip.webp"
STEPS = 20
BUDGET, SAMPLER, PREVIEW = "5", "6", "9"
PLACES = {BUDGET: (200, 150, 340, 330), PREVIEW: (580, 150, 340, 330)}  # left, top, width, height
CLIP = {"x": 180, "y": 100, "width": 760, "height": 400}
HELD, FIRST, LAST = 140, 1600, 3500  # milliseconds that frames are shown
WORKFLOW = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors", "weight_dtype": "default"}},
    "2": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "a fox on a green background", "model": "flux"}},
    "7": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "", "model": "flux"}},
    "10": {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": ["1", 0], "shift": 3.0}},
    "3": {"class_type": "VAELoader", "inputs": {"vae_name": "autoencoder.safetensors"}},
    "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    BUDGET: {"class_type": "ReCacheBudget", "inputs": {"model": ["10", 0], "budget": 0.1, "policy": "uniform"}},
    SAMPLER: {"class_type": "KSampler", "inputs": {
        "model": [BUDGET, 0], "positive": ["2", 0], "negative": ["7", 0], "latent_image": ["4", 0], "seed": 5,
        "steps": STEPS, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": [SAMPLER, 0], "vae": ["3", 0]}},
    PREVIEW: {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}},
}
STRIP = "(id) => app.graph.getNodeById(id).widgets.find(({ name }) => name === 'schedule').element"
# Notes in window.states whatever the strip shows.
RECORD = f"""(id) => {{
  const strip = ({STRIP})(id);
  window.states = [];
  window.recording = new MutationObserver(() => window.states.push(strip.innerHTML));
  window.recording.observe(strip, {{ subtree: true, childList: true, attributes: true, characterData: true }});
}}"""
REPEAT = f"([id, i]) => {{ ({STRIP})(id).innerHTML = window.states[i] }}"
PICTURES = "(seen) => document.body.classList.toggle('no-pictures', !seen)"


def arrange(page: browser.ComfyPage) -> None:
    """Budget and preview side by side, everything else out of sight."""
    page.load(WORKFLOW)
    page.setting("Comfy.LinkRenderMode", 3)  # links are hidden
    page.evaluate("""(places) => {
        app.canvas.ds.scale = 1;
        app.canvas.ds.offset = [0, 0];
        for (const node of app.graph.nodes) node.pos = [node.pos[0], node.pos[1] + 2000];
        for (const [id, [x, y, width, height]] of Object.entries(places)) {
            const node = app.graph.getNodeById(id);
            node.pos = [x, y];
            node.size = [width, height];
        }
        app.canvas.setDirty(true, true);
    }""", PLACES)
    page.settle()


def record(page: browser.ComfyPage) -> list[tuple[Image.Image, int]]:
    """(picture, milliseconds) of every change of the strip, from the first look to the finished picture."""
    frames: list[tuple[Image.Image, int]] = []

    def shoot(milliseconds: int) -> None:
        frames.append((Image.open(BytesIO(page.tab.screenshot(clip=CLIP))).convert("RGB"), milliseconds))

    page.wait(f"(id) => ({STRIP})(id).textContent.includes('faster')", BUDGET)
    shoot(FIRST)
    page.tab.locator(".recache-strip button", has_text="Balanced").click()
    page.tab.wait_for_timeout(500)
    shoot(FIRST)
    page.tab.mouse.move(5, 700)
    page.evaluate(RECORD, BUDGET)
    page.start()
    page.wait(f"(id) => ({STRIP})(id).textContent.includes('Measured')", BUDGET, seconds=120)
    page.until_idle()
    page.tab.wait_for_timeout(1000)
    states = page.evaluate("() => { window.recording.disconnect(); return window.states }")
    page.tab.add_style_tag(content=".no-pictures [data-node-id] img { visibility: hidden }")
    page.evaluate(PICTURES, False)
    for i, state in enumerate(states):
        if i == 0 or state != states[i - 1]:
            page.evaluate(REPEAT, [BUDGET, i])
            page.settle()
            shoot(HELD)
    page.evaluate(PICTURES, True)
    page.settle()
    shoot(LAST)
    return frames


def main() -> None:
    with serve(environ["COMFYUI_PATH"], test_nodes=True) as server:
        thumbnails.install(server.models)
        with browser.launch() as chromium, browser.comfy_page(chromium, server.url, "nodes2") as page:
            arrange(page)
            frames = record(page)
    pictures, milliseconds = zip(*frames)
    pictures[0].save(FILE, save_all=True, append_images=pictures[1:], duration=list(milliseconds), loop=0, quality=70,
                     method=6, minimize_size=True)
    print(f"{FILE}: {len(frames)} frames, {FILE.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
