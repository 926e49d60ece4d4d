"""Every tiny model is what it claims to be, and runs in the host as it is, without the pack."""

from __future__ import annotations

from pathlib import Path

import comfy.supported_models
import folder_paths
import pytest
import torch
from safetensors.torch import load_file

from tests import sampling
from tests.bench.families import streams
from tests.tiny.families import FAMILIES, IN_SUITE, LEFT_OUT
from tests.tiny.probe import probe


@pytest.fixture(scope="module", params=IN_SUITE)
def family(request, host):
    """One family after the other; a family that the host does not know yet is skipped."""
    family = FAMILIES[request.param]
    if tuple(map(int, family.host_since.split("."))) > host.version_info:
        pytest.skip(f"{family.title} needs ComfyUI {family.host_since}")
    return family


@pytest.fixture(scope="module")
def models(family):
    return sampling.models(family.name)


def sample(model, family, *, cfg: float = 1.0, batch: int = 1, steps: int = 2) -> torch.Tensor:
    """What the stock KSampler makes with Euler."""
    from nodes import common_ksampler

    positive, negative = family.conditioning()
    latent = family.latent(batch)
    return common_ksampler(model, 0, steps, cfg, "euler", "simple", positive, negative, latent)[0]["samples"]


def test_the_host_claims_it(family, models):
    assert len(models) == len(family.experts)
    for model in models:
        assert type(model.model.model_config).__name__ == family.config


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_it_samples(family, models, cfg):
    batch = 2 if family.batches else 1
    for model in models:
        made = streams(sample(model, family, cfg=cfg, batch=batch))
        assert [part.shape for part in made] == [part.shape for part in streams(family.empty(batch)["samples"])]
        assert all(part.isfinite().all() and 0.05 < part.std() < 500 for part in made)


def test_guidance_has_an_effect(family, models):
    for plain, guided in zip(*(streams(sample(models[0], family, cfg=cfg)) for cfg in (1.0, 4.0)), strict=True):
        assert not torch.allclose(plain, guided)


def test_the_file_holds_every_weight(family, models):
    """What is missing in a file stays what memory held when the network was made."""
    for model, file in zip(models, family.write(Path(folder_paths.base_path) / "models" / "diffusion_models")):
        held = model.model.model_config.process_unet_state_dict(load_file(file))
        assert set(model.model.diffusion_model.state_dict()) <= set(held)


def test_its_blocks_are_what_the_table_says(family, models):
    if not family.blocks:
        pytest.skip("its blocks, if any, can't be skipped")
    shown = probe(models[0], lambda model: sample(model, family, steps=1))
    assert len(shown.blocks) == family.blocks
    if any(block.key[0] == "single_block" for block in shown.blocks):
        assert shown.joined == "txt, img"


def test_every_diffusion_model_on_the_hosts_list_is_tried(host):
    """Those of LEFT_OUT are counted: a model that a new release adds is missing until it has a family or a reason."""
    if host.version != "0.30.0":
        pytest.skip("the list is ComfyUI 0.30.0's")
    listed = {config.__name__ for config in comfy.supported_models.models}
    untried = {"HunyuanDiT1", "ZImagePixelSpace", "RT_DETR_v4", "SAM3", "SAM31", "DepthAnything3"}
    assert listed - {family.config for family in FAMILIES.values()} == untried
    assert len(LEFT_OUT) == 4


def test_files_are_the_same_every_time_and_made_once(host, tmp_path):
    family = FAMILIES["wan22_14b"]
    (tmp_path / "again").mkdir()
    first, again = family.write(tmp_path), family.write(tmp_path / "again")
    high, low = map(load_file, first)
    assert all(torch.equal(high[name], value) for name, value in load_file(again[0]).items())
    assert not any(torch.equal(high[name], low[name]) for name in high)
    made = first[0].stat().st_mtime_ns
    assert family.write(tmp_path) == first
    assert first[0].stat().st_mtime_ns == made


def test_prompts_differ_and_repeat(host):
    family = FAMILIES["flux"]
    (positive,), (negative,) = family.conditioning(seed=3, batch=2)
    assert positive[0].shape == negative[0].shape == (2, 8, 64)
    assert not torch.equal(positive[0], negative[0])
    assert torch.equal(positive[0], family.conditioning(seed=3, batch=2)[0][0][0])
    assert not torch.equal(positive[0], family.conditioning(seed=4, batch=2)[0][0][0])


def test_two_experts_share_one_run(host, tmp_path):
    from nodes import KSamplerAdvanced

    family = FAMILIES["wan22_14b"]
    high, low = family.load(family.write(tmp_path))
    prompts = family.conditioning()

    def part(model, latent, start, end, noise):
        add, keep = ("enable", "enable") if noise else ("disable", "disable")
        run = (
            model,
            add,
            0,
            4,
            4.0,
            "euler",
            "simple",
            *prompts,
            latent,
            start,
            end,
            keep,
        )
        return KSamplerAdvanced().sample(*run)[0]

    half = part(high, family.latent(), 0, 2, noise=True)
    whole = part(low, half, 2, 4, noise=False)["samples"]
    assert whole.isfinite().all()
    assert not torch.equal(whole, part(high, half, 2, 4, noise=False)["samples"])
