"""What artists have from before the pack's folders were laid out anew still loads: a workflow, a policy, a training.

``tests/legacy`` was made with version 0.1.0 as it was then: ``workflow.json`` has every node of the pack with every
widget set, ``prompt.json`` is what the page queued of it, ``policy.safetensors`` and ``training/`` are what its two
trainings left, and ``expected.json`` is what it gave out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recache.policies.policy_file import load, save
from tests.hosting.prompts import install_models
from tests.hosting.server import emptied

LEGACY = Path(__file__).with_name("legacy")
POLICY = "before.safetensors"  # as the workflow names it


def stored(name: str):
    return json.loads((LEGACY / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed(server):
    """The server with models, policy and checkpoints; gives the folder of the policy."""
    install_models(server.models)
    checkpoints = server.base / "user" / "recache" / "training"
    with emptied(server.models / "recache") as folder:
        shutil.copy(LEGACY / "policy.safetensors", folder / POLICY)
        shutil.rmtree(checkpoints, ignore_errors=True)  # of other tests
        shutil.copytree(LEGACY / "training", checkpoints)
        yield folder
        shutil.rmtree(checkpoints)


def test_a_policy_loads_with_all_that_it_says(tmp_path):
    file = load("policy.safetensors", LEGACY)
    assert (file.about.name, file.about.model_family, file.about.size) == ("before", "Flux", [64, 64])
    assert (file.about.mechanism, file.about.mechanism_options, file.about.cache_point) == (
        "taylor", {"order": 1}, "output")
    assert (file.about.sampler, file.about.scheduler, file.about.steps, file.about.cfg) == ("euler", "simple", 6, 1.5)
    assert file.about.training["learned by"] == file.about.reward == "latent RMSE"
    assert file.about.notes == "trained before the redesign" and set(file.about.model_identity) == {"layout"}
    assert file.policy.budgets == (3,) and file.policy.schedule(3).indices == (0, 2, 4)
    assert file.validation[3]["fewer steps"] == pytest.approx(0.8074, abs=1e-4)
    save(tmp_path / "again.safetensors", file)
    assert load("again.safetensors", tmp_path).about == file.about


def entries(path: Path) -> list[str]:
    """The schedules and samples whose costs a checkpoint file holds."""
    return [json.dumps(json.loads(line)[:2]) for line in path.read_text().splitlines()]


def test_a_workflow_gives_what_it_gave_and_its_trainings_compute_nothing_again(installed, client, server):
    result = client.run(stored("prompt"), {"extra_pnginfo": {"workflow": stored("workflow")}}).check()
    expected = stored("expected")
    for node, report in expected["reports"].items():
        told = json.loads(result.outputs[node]["text"][0])
        assert {name: told[name] for name in report} == report
    for node, budgets in expected["frontier"].items():
        for row, wanted in zip(json.loads(result.outputs[node]["text"][0])["budgets"], budgets, strict=True):
            assert (row["budget"], row["computed"]) == (wanted["budget"], wanted["computed"])
            assert row["fewer_steps"]["computed"] == wanted["fewer_steps"]
            assert row["difference"] == pytest.approx(wanted["difference"], rel=0.01)

    assert load(POLICY, installed).policy.schedule(3).indices == (0, 2, 4)  # trained again, from the checkpoint
    before = {path.relative_to(LEGACY / "training"): path for path in (LEGACY / "training").rglob("*.*")}
    checkpoints = server.base / "user" / "recache" / "training"
    assert {path.relative_to(checkpoints) for path in checkpoints.rglob("*.*")} == set(before)
    for name, path in before.items():
        now = checkpoints / name
        if path.suffix == ".safetensors":
            assert now.read_bytes() == path.read_bytes(), name
        else:
            assert now.read_bytes().startswith(path.read_bytes()), name
            assert len(set(entries(now))) == len(entries(now)), name
    assert not server.complaints()


def test_the_page_opens_a_workflow_with_every_widget_as_it_was(installed, page):
    page.evaluate("() => app.refreshComboInNodes()")
    page.load(stored("workflow"))

    def own(prompt: dict) -> dict:
        """The pack's nodes, without their titles."""
        return {key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in prompt.items()
                if node["class_type"].startswith("ReCache")}

    before, now = own(stored("prompt")), own(page.prompt())
    for key, node in before.items():  # inputs that came later have their defaults
        now[key]["inputs"] = {name: now[key]["inputs"].get(name) for name in node["inputs"]}
    assert now == before
