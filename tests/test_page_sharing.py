"""Policies that travel with workflows, on ComfyUI's real page: embedded, brought back, missed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from recache.nodes.library.folders import SHIPPED
from recache.policies import policy_file
from tests.hosting.browser import RENDERERS
from tests.hosting.prompts import install_models, sampling
from tests.hosting.server import emptied

BUDGET = 8
NAME = "portraits.safetensors"
MISSING = "'portraits.safetensors' (fitted on Flux, 50 steps, euler simple: of a test)"


@pytest.fixture
def policies(page_server):
    """The server's models/recache with one policy, as its author has it."""
    install_models(page_server.models)
    file = policy_file.load("demo-flux-taylor1.safetensors", SHIPPED)
    with emptied(page_server.models / "recache") as folder:
        policy_file.save(folder / NAME, replace(file, about=replace(file.about, name="portraits", notes="of a test")))
        yield folder


def authored(page) -> None:
    """A workflow whose Budget node names the policy."""
    page.evaluate("() => app.refreshComboInNodes()")
    page.load(sampling("auto"))
    page.load(page.workflow())  # as a file of the page's own, with an id
    page.set_widget(BUDGET, "policy", NAME)
    page.wait(f"() => app.graph.getNodeById({BUDGET}).properties.recache_policy?.file === '{NAME}'")


def embed(page) -> None:
    """Chooses the entry of the node's menu with the mouse."""
    page.evaluate("(id) => { const { pos } = app.graph.getNodeById(id); app.canvas.ds.scale = 1; "
                  "app.canvas.ds.offset = [300 - pos[0], 300 - pos[1]]; app.canvas.setDirty(true, true) }", BUDGET)
    page.settle()
    if page.renderer == "nodes2":
        page.tab.locator(f"[data-node-id='{BUDGET}']").get_by_text("ReCache", exact=True).click(button="right")
    else:
        left, top = page.evaluate("() => { const { left, top } = app.canvas.canvas.getBoundingClientRect(); "
                                  "return [left, top] }")
        page.tab.mouse.click(left + 380, top + 285, button="right")  # its title
    page.tab.get_by_text("Embed the policy in this workflow").first.click()
    page.wait(f"() => app.graph.getNodeById({BUDGET}).properties.recache_policy.data")
    page.message("travels with this workflow")


def elsewhere(page, policies, saved: dict) -> None:
    """Opens a saved workflow where the policy is not."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait("() => app.graph.nodes.length === 0")
    (policies / NAME).unlink()
    page.evaluate("() => app.refreshComboInNodes()")
    page.dismiss_messages()
    page.load(saved)


def report(page) -> str:
    """Runs the workflow, and returns what ReCache Report says."""
    page.queue(600)
    return page.evaluate("() => fetch('/history').then((answer) => answer.json()).then((runs) => "
                         "Object.values(runs).at(-1).outputs['10'].text[0])")


def nothing_is_red(page) -> bool:
    """Neither the page nor its picker calls anything missing or wrong."""
    page.settle()
    return not page.evaluate("() => document.querySelector('[aria-invalid=true], .ring-destructive-background') || "
                             "document.body.innerText.match(/missing model/i)")


@RENDERERS
def test_an_embedded_policy_is_back_where_it_was_missing(page, policies, renderer):
    authored(page)
    embed(page)
    content, saved = (policies / NAME).read_bytes(), page.workflow()
    elsewhere(page, policies, saved)
    page.message("came with this workflow and was saved in models/recache")
    assert (policies / NAME).read_bytes() == content and nothing_is_red(page)
    assert page.widget(BUDGET, "policy") == NAME
    page.screenshot("policy-brought")
    assert "The policy 'portraits' was fitted on" in report(page)
    page.dismiss_messages()
    page.load(saved)  # once more brings nothing new
    page.load(page.workflow())
    assert sorted(path.name for path in policies.glob("portraits*")) == [NAME]


@RENDERERS
def test_a_missing_policy_is_named_and_the_workflow_runs(page, policies, renderer):
    authored(page)
    elsewhere(page, policies, page.workflow())
    page.message(f"The policy {MISSING} is not in models/recache. Until it is there")
    assert nothing_is_red(page) and not (policies / NAME).exists()
    page.screenshot("policy-missing")
    said = report(page)
    assert [line for line in said.splitlines() if "portraits" in line] == [
        f"The policy {MISSING} is not in models/recache; until it is there, the uniform schedule is used."]
    assert page.widget(BUDGET, "policy") == NAME and nothing_is_red(page)


def test_another_policy_of_the_same_name_stays(page, policies):
    authored(page)
    embed(page)
    saved = page.workflow()
    other = (SHIPPED / "demo-wan-taylor1.safetensors").read_bytes()
    (policies / NAME).write_bytes(other)
    page.load(saved)
    page.message("Another one has that name here")
    renamed = page.widget(BUDGET, "policy")
    assert renamed != NAME and (policies / renamed).is_file() and (policies / NAME).read_bytes() == other
    assert "The policy 'portraits' was fitted on" in report(page)


def test_a_hostile_workflow_brings_nothing(page, policies):
    authored(page)
    embed(page)
    (policies / NAME).unlink()
    before, given = set(policies.rglob("*")), page.workflow()
    page.dismiss_messages()

    def opened(change) -> None:
        hostile = copy.deepcopy(given)
        change(next(node for node in hostile["nodes"] if str(node["id"]) == str(BUDGET)))
        page.load(hostile)
        page.tab.wait_for_timeout(500)
        assert set(policies.rglob("*")) == before

    def outside(node) -> None:
        node["widgets_values"][1] = node["properties"]["recache_policy"]["file"] = "../../out.safetensors"

    def damaged(node) -> None:
        node["properties"]["recache_policy"]["data"] = node["properties"]["recache_policy"]["data"][:-40]

    opened(outside)
    page.message("has a name that can't be kept")
    opened(damaged)
    page.message("is damaged or cut off")
    opened(lambda node: node["properties"].update(recache_policy=[7], recache_embed={}))
    for data in ({"a": 1}, 7, "", "no base64", "A" * 400_000):
        opened(lambda node, data=data: node["properties"]["recache_policy"].update(data=data))
    opened(lambda node: node["widgets_values"].__setitem__(1, "auto"))  # a policy that no node uses
    assert not list(Path(policies.parent.parent).rglob("out.safetensors")) and page.complaints() == []
