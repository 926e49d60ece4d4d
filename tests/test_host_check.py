"""An extension point of ComfyUI that has moved is named, and models are left as they are."""

from __future__ import annotations

import ast
import inspect
from types import SimpleNamespace

import comfy.model_patcher
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from recache import caching
from recache.caching import Reason, host_check
from recache.caching.workflow import WorkflowError
from recache.nodes.report import ReCacheReport
from recache.nodes.server import plan, routes
from tests.hosting.session import ROOT
from tests.sampling import ksampler, models, settings
from tests.tiny.training import flow

pytestmark = pytest.mark.usefixtures("host")
FAMILY = "sd3"


@pytest.fixture
def fresh():
    """The check is made anew in the test, and once more after it."""
    host_check.moved.cache_clear()
    yield
    host_check.moved.cache_clear()


def test_everything_is_in_its_place_on_this_host(fresh):
    assert host_check.moved() == () and host_check.obstacle() is None


def test_every_wrapper_and_patcher_method_that_the_engine_uses_is_looked_for():
    used = set()
    for path in (ROOT / "caching").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "WrappersMP":
                used.add(f"WrappersMP.{node.attr}")
            elif isinstance(node, ast.Attribute) and "wrapper" in node.attr:
                used.add(f"ModelPatcher.{node.attr}")
    methods = {f"ModelPatcher.{name}" for name, _ in inspect.getmembers(comfy.model_patcher.ModelPatcher)}
    used = {name for name in used if name in methods or name.startswith("WrappersMP")}
    assert len(used) >= 8
    assert used <= {point.split()[1] for point in host_check.EXTENSION_POINTS}


def gone(monkeypatch):
    monkeypatch.delattr(WrappersMP, "CALC_COND_BATCH")
    return "comfy.patcher_extension WrappersMP.CALC_COND_BATCH"


def called_otherwise(monkeypatch):
    def predict_noise(self, latent, sigma, model_options={}, seed=None):  # noqa: B006  as the host's
        raise NotImplementedError

    monkeypatch.setattr(comfy.samplers.CFGGuider, "predict_noise", predict_noise)
    return "comfy.samplers CFGGuider.predict_noise"


@pytest.mark.parametrize("move", [gone, called_otherwise])
def test_what_moved_is_named(move, monkeypatch, fresh):
    name = move(monkeypatch)
    assert host_check.moved() == (name,)
    assert host_check.obstacle() == Reason("host_moved", {"points": name})


def test_models_are_left_as_they_are_and_every_node_says_why(monkeypatch, fresh):
    expected = ksampler(FAMILY, steps=4)(models(FAMILY)[0])
    monkeypatch.delattr(comfy.model_patcher.ModelPatcher, "remove_wrappers_with_key")
    name = "comfy.model_patcher ModelPatcher.remove_wrappers_with_key"
    attached = caching.attach(models(FAMILY)[0], settings(0.5))
    samples = ksampler(FAMILY, steps=4)(attached)
    assert torch.equal(samples, expected) and caching.config_of(attached) is None
    monkeypatch.setattr(ReCacheReport, "hidden", SimpleNamespace(prompt=None, extra_pnginfo=None), raising=False)
    passed, text, _, known = ReCacheReport.execute({"samples": samples}, attached).args
    assert torch.equal(passed["samples"], expected) and name in text and known == "null"
    with pytest.raises(WorkflowError, match="host_moved"):
        flow()
    told = plan.plan(routes.parse(b'{"settings": {}}'))
    assert told.refusal == host_check.obstacle() and not told.n
