"""Makes the files in workflows/ through ComfyUI's own page: ``nox -s workflows``.

The page builds every workflow of the catalogue and writes it as it writes an artist's, so that the files hold what the
frontend expects and nothing else.
"""

from __future__ import annotations

import argparse
import json
import uuid
from os import environ
from pathlib import Path

from tests.authoring import thumbnails
from tests.authoring.catalogue import HUB, WORKFLOWS, Workflow
from tests.hosting import browser
from tests.hosting.client import Client
from tests.hosting.server import serve
from tests.hosting.session import ROOT

FOLDER = ROOT / "workflows"
SCRIPT = (Path(__file__).parent / "arrange.js").read_text(encoding="utf-8")
# Title and body of a node; ComfyUI's own green and red bodies are too light for its grey letters.
GREEN, RED, GREY, BLUE = ("#232", "#1b2b1b"), ("#322", "#2b1b1b"), ("#222", "#000"), ("#233", "#1b2b2b")
COLORS = {
    "CLIP Text Encode (Positive Prompt)": GREEN, "CLIP Text Encode (Negative Prompt)": RED, "MarkdownNote": GREY,
    **dict.fromkeys(("ReCacheBudget", "ReCacheBudgetTwoModels", "ReCacheTrain", "ReCacheFrontier", "ReCacheCompare"),
                    BLUE),
}


def prompt(workflow: Workflow) -> dict[str, dict]:
    """The workflow in the API's format; nodes are numbered in the catalogue's order."""
    numbers = {key: str(i) for i, key in enumerate(workflow.nodes, 1)}

    def value(given):
        return [numbers[given[0]], given[1]] if isinstance(given, tuple) else given

    return {
        numbers[key]: {"class_type": kind, "inputs": {name: value(given) for name, given in inputs.items()}}
        for key, (kind, inputs) in workflow.nodes.items()}


def draw(page: browser.ComfyPage, workflow: Workflow) -> dict:
    """The workflow as ComfyUI's page saves it."""
    made = json.loads(page.evaluate(SCRIPT, {
        "name": workflow.name, "prompt": prompt(workflow), "keys": list(workflow.nodes),
        "columns": [keys for _, keys in workflow.groups], "outside": workflow.outside,
        "promoted": list(workflow.promoted.items()), "titles": dict(workflow.titles), "colors": COLORS,
        "notes": {"models": workflow.models, "note": workflow.note},
        "models": {file.name: {"name": file.name, "url": HUB + file.url, "directory": file.directory}
                   for file in workflow.files}}))
    made["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"recache/{workflow.name}"))
    made["extra"].pop("ds", None)  # the page then shows the whole workflow
    return made


def stand_ins(models: Path, workflows: tuple[Workflow, ...] = WORKFLOWS) -> None:
    """Empty files under the names that the workflows' loaders list."""
    for file in {file for workflow in workflows for file in workflow.files}:
        path = models / file.directory / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="names of workflows, or parts of them; all by default")
    parser.add_argument("--no-thumbnails", action="store_true", help="leave the pictures as they are")
    options = parser.parse_args()
    only = options.only
    chosen = [w for w in WORKFLOWS if not only or any(part.lower() in w.name.lower() for part in only)]
    with serve(environ["COMFYUI_PATH"], test_nodes=True) as server:
        stand_ins(server.models)
        thumbnails.install(server.models)
        with browser.launch() as chromium, browser.comfy_page(chromium, server.url) as page:
            for workflow in chosen:
                text = json.dumps(draw(page, workflow), ensure_ascii=False, indent=2)
                (FOLDER / f"{workflow.name}.json").write_text(text + "\n", encoding="utf-8")
                print(workflow.name, flush=True)
        with Client(server.url) as client:
            for workflow in () if options.no_thumbnails else chosen:
                picture = thumbnails.draw(workflow, thumbnails.play(client, workflow))
                picture.save(FOLDER / f"{workflow.name}.jpg", quality=80, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
