"""ReCache Compare: its figures, its heat map, its picture, and what it refuses."""

from __future__ import annotations

import re

import lpips
import pytest
import torch

from recache.nodes import compare
from recache.nodes.pictures import comparison
from recache.nodes.server import wording
from recache.policies.metrics import distances
from tests.hosting.languages import OWN_SCRIPT

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(6, 64, 48, 3, generator=torch.Generator().manual_seed(0))


def run(uncached, cached, rows=4, heat_scale=0.2):
    return compare.ReCacheCompare.execute(uncached, cached, rows=rows, heat_scale=heat_scale).args


def test_figures_are_the_means_of_the_pairs(pictures):
    cached = (pictures + 0.1 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    _, _, text, difference, psnr, ssim = run(pictures, cached)
    assert psnr == pytest.approx(float((-10 * (cached - pictures).square().mean((1, 2, 3)).log10()).mean()), rel=1e-5)
    assert ssim == pytest.approx(1 - float(distances.ssim(cached, pictures).mean()), rel=1e-5)
    perceptual, name, _ = distances.perceptual()
    assert difference == pytest.approx(float(perceptual(cached, pictures).mean()), rel=1e-5)
    assert text.startswith(f"{name} {difference:.4f}, PSNR {psnr:.1f} dB") and "(mean of 6)" in text


@pytest.mark.parametrize("language", OWN_SCRIPT)
def test_the_text_is_in_the_artists_language(pictures, language, monkeypatch):
    monkeypatch.setattr(wording.PageLanguage, "current", language)
    lines = run(pictures, 1.0 - pictures)[2].splitlines()
    assert len(lines) > 5 and [line for line in lines if not re.search(OWN_SCRIPT[language], line)] == []


def test_with_its_backbone_lpips_is_used_and_named(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert "1 - SSIM stands in for LPIPS. LPIPS needs AlexNet, a download of 233 MB" in run(pictures, pictures)[2]
    torch.manual_seed(0)
    net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).net
    weights = {"features." + name.split(".", 1)[1]: value for name, value in net.state_dict().items()}
    (tmp_path / "checkpoints").mkdir()
    torch.save(weights, tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    with torch.inference_mode():  # as the executor runs nodes
        _, _, text, difference, _, _ = run(pictures, 1.0 - pictures)
    assert text.startswith(f"LPIPS {difference:.4f}, PSNR ") and difference > 0.01 and "AlexNet" not in text


def test_equal_pictures_are_equal_and_the_least_alike_is_named(pictures):
    _, heat, text, difference, psnr, ssim = run(pictures, pictures.clone())
    assert (difference, psnr) == (pytest.approx(0, abs=1e-6), 100.0) and ssim == pytest.approx(1.0)
    assert "equal pictures" in text
    assert torch.equal(heat, heat[:1, :1, :1].expand_as(heat)) and heat.max() < 0.1
    cached = pictures.clone()
    cached[4] = cached[4].flip(0)
    assert "least alike is 5 of 6" in run(pictures, cached)[2]


def test_the_heat_map_is_dark_where_equal_and_brightest_from_the_scale_on(pictures):
    uncached, cached = torch.zeros(1, 40, 40, 3), torch.zeros(1, 40, 40, 3)
    cached[0, 10, 10], cached[0, 10, 11], cached[0, 10, 12, 0] = 0.2, 0.9, 0.3
    heat = run(uncached, cached)[1]
    darkest, brightest = comparison.HEAT[0], comparison.HEAT[-1]
    torch.testing.assert_close(heat[0, 0, 0], darkest)
    torch.testing.assert_close(heat[0, 10, 10], brightest)
    torch.testing.assert_close(heat[0, 10, 11], brightest)
    torch.testing.assert_close(heat[0, 10, 12], comparison.HEAT[2])  # 0.3 of one colour in three is half of 0.2
    luminance = comparison.HEAT.mean(1)
    assert (luminance.diff() > 0).all()


@pytest.mark.parametrize("rows, count, shown", [
    (4, 3, [1, 2, 3]), (4, 4, [1, 2, 3, 4]), (3, 81, [1, 41, 81]), (1, 5, [1]), (2, 3, [1, 3]), (4, 1, [])])
def test_the_first_the_last_and_some_between_are_shown(pictures, rows, count, shown, monkeypatch):
    clip = pictures[:1].expand(count, -1, -1, -1)
    drawn = []
    draw = compare.compare_picture
    monkeypatch.setattr(compare, "compare_picture", lambda *a: drawn.extend(a[3]) or draw(*a))
    picture, heat, text, *_ = run(clip, clip, rows)
    assert heat.shape == clip.shape
    assert [line.split(" of ")[0] for line in text.splitlines() if f" of {count}: " in line and line[0].isdigit()] == [
        str(i) for i in shown]
    assert [i + 1 for i in drawn] == (shown or [1])
    assert picture.shape[1] > len(drawn) * 64 * 7  # small pictures are shown enlarged


def test_the_picture_holds_both_pictures_and_the_heat_map(pictures):
    red, blue = torch.zeros(1, 64, 64, 3), torch.zeros(1, 64, 64, 3)
    red[..., 0], blue[..., 2] = 1.0, 1.0
    picture, heat, *_ = run(red, blue)
    pixels = picture[0].flatten(0, 1)
    for colour in (red[0, 0, 0], blue[0, 0, 0], heat[0, 0, 0]):
        assert ((pixels - colour).abs().max(1).values < 0.01).sum() >= 384 * 384


@pytest.mark.parametrize("change, said", [
    (lambda p: p[:, :32], "uncached pictures are 48 x 64 and the cached ones 48 x 32; make both with the same size."),
    (lambda p: p[:4], "there are 6 uncached pictures and 4 cached ones; make both with the same batch size"),
    (lambda p: p * float("nan"), "the cached pictures hold NaN or infinity instead of colours")])
def test_what_cannot_be_compared_is_one_sentence(pictures, change, said):
    with pytest.raises(ValueError, match=r"^ReCache Compare: ") as error:
        run(pictures, change(pictures))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_small_pictures_are_refused_and_other_channels_taken(pictures):
    with pytest.raises(ValueError, match=r"^ReCache Compare: pictures of 31 x 64 are too small"):
        run(pictures[:, :, :31], pictures[:, :, :31])
    with_alpha = torch.cat([pictures, torch.rand(6, 64, 48, 1)], -1)
    assert run(with_alpha, pictures)[4] == 100.0
    assert run(pictures[..., :1], pictures[..., :1].expand(-1, -1, -1, 3))[4] == 100.0
