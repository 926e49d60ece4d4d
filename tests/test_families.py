"""Every tiny model is what it claims to be, and runs in the host as it is, without the pack."""

from __future__ import annotations

import pytest
import torch

from tests.tiny.families import FAMILIES


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, host):
    """One family after the other; a family that the host does not know yet is skipped."""
    family = FAMILIES[request.param]
    if tuple(map(int, family.host_since.split("."))) > host.version_info:
        pytest.skip(f"{family.title} needs ComfyUI {family.host_since}")
    return family


@pytest.fixture(scope="module")
def models(family, tmp_path_factory):
    return family.load(family.write(tmp_path_factory.mktemp("diffusion_models")))


def sample(model, family, *, cfg: float = 1.0, batch: int = 1, seed: int = 0) -> torch.Tensor:
    """What the stock KSampler makes in two Euler steps."""
    from nodes import common_ksampler

    positive, negative = family.conditioning()
    latent = family.latent(batch)
    return common_ksampler(model, seed, 2, cfg, "euler", "simple", positive, negative, latent)[0]["samples"]


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
