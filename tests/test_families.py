"""Every tiny model is what it claims to be, and runs in the host as it is, without the pack."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests import sampling
from tests.tiny.families import FAMILIES
from tests.tiny.probe import probe


@pytest.fixture(scope="module", params=FAMILIES)
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
    for model in models:
        samples = sample(model, family, cfg=cfg, batch=2)
        assert samples.shape == (2, *family.latent_shape)
        assert samples.isfinite().all()
        assert 0.05 < samples.std() < 500


def test_guidance_has_an_effect(family, models):
    assert not torch.allclose(sample(models[0], family, cfg=1.0), sample(models[0], family, cfg=4.0))


def test_its_blocks_are_what_the_table_says(family, models):
    shown = probe(models[0], lambda model: sample(model, family, steps=1))
    assert len(shown.blocks) == family.blocks
    if any(block.key[0] == "single_block" for block in shown.blocks):
        assert shown.joined == "txt, img"


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
