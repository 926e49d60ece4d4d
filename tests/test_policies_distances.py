"""Distances against scikit-image and lpips itself; rewards against their formulas."""

import lpips
import numpy as np
import pytest
import torch
import torchvision
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from recache.policies.metrics.distances import LPIPS, DistanceError, latent_mse, psnr, ssim
from recache.policies.metrics.rewards import ClipQuality, ClipSimilarity, image_loss, none

ALEXNET = "alexnet-owt-7be5be79.pth"


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, 40, 53, 3, generator=generator)
    b = (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    return a, b


def test_latent_mse(pictures):
    a, b = pictures
    expected = ((a.double() - b.double()) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(latent_mse(a, b).double(), expected, rtol=1e-5, atol=0)
    assert latent_mse(a.half(), b.half()).dtype == torch.float32


def test_psnr_and_ssim_are_those_of_scikit_image(pictures):
    a, b = pictures
    options = {"channel_axis": -1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for i in range(3):
        x, y = a[i].double().numpy(), b[i].double().numpy()
        assert -psnr(a, b)[i].item() == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1.0), rel=1e-5)
        assert 1 - ssim(a, b)[i].item() == pytest.approx(
            structural_similarity(x, y, data_range=1.0, **options), abs=1e-5
        )


@pytest.mark.parametrize("distance", [psnr, ssim])
def test_equal_pictures_are_nearest_and_videos_are_means_of_frames(distance, pictures):
    a, b = pictures
    torch.testing.assert_close(distance(a, a), torch.full((3,), -100.0 if distance is psnr else 0.0), atol=1e-5, rtol=0)
    assert (distance(a, b) > distance(a, a)).all()
    video = distance(a.unsqueeze(0), b.unsqueeze(0))
    torch.testing.assert_close(video, distance(a, b).mean(0, keepdim=True))


def test_unfit_shapes_are_one_sentence(pictures):
    a, b = pictures
    for call in (
        lambda: latent_mse(a, b[:2]),
        lambda: ssim(a, b[:, :30]),
        lambda: ssim(a[0], b[0]),
        lambda: ssim(a[:, :8], b[:, :8]),
    ):
        with pytest.raises(DistanceError) as error:
            call()
        assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.fixture
def torch_cache(tmp_path):
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


def test_lpips_without_its_backbone_says_what_to_do(torch_cache):
    with pytest.raises(DistanceError, match="use SSIM") as error:
        LPIPS()
    assert ALEXNET in str(error.value) and str(torch_cache) in str(error.value)
    (torch_cache / ALEXNET).write_bytes(b"not weights")
    with pytest.raises(DistanceError, match="damaged"):
        LPIPS()


def test_lpips_with_a_backbone_is_that_of_the_package(torch_cache, pictures):
    torch.manual_seed(0)
    original = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    weights = {"features." + name.split(".", 1)[1]: value for name, value in original.net.state_dict().items()}
    with torch.device("meta"):
        alexnet = torchvision.models.alexnet(weights=None).state_dict()
    assert all(alexnet[name].shape == value.shape for name, value in weights.items())
    torch.save(weights, torch_cache / ALEXNET)
    a, b = (x.repeat_interleave(2, 1).repeat_interleave(2, 2) for x in pictures)
    distance = LPIPS()
    expected = original(a.movedim(-1, 1), b.movedim(-1, 1), normalize=True).flatten()
    torch.testing.assert_close(distance(a, b), expected.detach())
    torch.testing.assert_close(distance(a, a), torch.zeros(3))
    torch.testing.assert_close(distance(a.unsqueeze(0), b.unsqueeze(0)), expected.detach().mean(0, keepdim=True))


def test_clip_rewards(pictures):
    a, b = pictures

    def embed(x):
        return x.mean((1, 2))

    good, bad = torch.tensor([1.0, 0.2, 0.1]), torch.tensor([0.1, 0.2, 1.0])
    x = embed(a).double().numpy()

    def cosine(text):
        return x @ text.double().numpy() / np.linalg.norm(x, axis=1) / np.linalg.norm(text.double().numpy())

    np.testing.assert_allclose(ClipSimilarity(embed, good)(a).numpy(), cosine(good), rtol=1e-5)
    expected = 1 / (1 + np.exp(-100 * (cosine(good) - cosine(bad))))
    np.testing.assert_allclose(ClipQuality(embed, good, bad)(a).numpy(), expected, rtol=1e-2, atol=1e-4)
    assert ClipQuality(embed, good, bad)(a.unsqueeze(0)).shape == (1,)
    assert none(a).tolist() == [0.0] * 3
    loss = image_loss(a, b, latent_mse, ClipSimilarity(embed, good), alpha=0.1)
    torch.testing.assert_close(loss, latent_mse(a, b) - 0.1 * ClipSimilarity(embed, good)(a))
