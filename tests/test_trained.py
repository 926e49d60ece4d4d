"""The shipped demo models, loaded by the host's own loaders, do what their captions say."""

from __future__ import annotations

import shutil

import pytest
import torch
from comfy.latent_formats import Wan21
from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow
from nodes import UNETLoader, VAEDecode, VAEEncode, VAELoader, common_ksampler

from tests.host_nodes.nodes import FramesToBatch, TextEncode
from tests.trained import data, distill, train

pytestmark = pytest.mark.usefixtures("host")
NAMES = data.read_names()[1]
COLOURS = list(data.COLOURS)
# Pictures that the tests tell apart, each on a background colour that it never had in training.
CHOSEN = [NAMES.index(name) for name in (
    "dog", "panda", "frog", "lion", "penguin", "butterfly", "crab", "red apple", "strawberry", "watermelon", "grapes",
    "carrot", "hamburger", "pizza", "doughnut", "red car", "bus", "tractor", "rocket", "sunflower", "cactus",
    "pine tree", "yellow star", "soccer ball", "red balloon", "gift", "red heart", "house", "bell", "ghost", "robot",
    "cool face",
)]  # fmt: skip
UNSEEN = [next(c for c in range(len(COLOURS)) if data.is_held_out(picture, c)) for picture in CHOSEN]


def caption(i: int) -> str:
    return data.image_caption(NAMES[CHOSEN[i]], COLOURS[UNSEEN[i]])


def conditioning(text: str, model: str) -> list:
    return TextEncode.execute(text, model).args[0]


def sample(model, kind: str, text: str, latent: torch.Tensor, steps: int, cfg: float = 3.0) -> dict:
    """What the stock KSampler makes of a caption, with seed 1."""
    conds = conditioning(text, kind), conditioning("", kind)
    return common_ksampler(model, 1, steps, cfg, "euler", "simple", *conds, {"samples": latent})[0]


@pytest.fixture(scope="module")
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture(scope="module")
def rgba() -> torch.Tensor:
    return data.load(train.DATA, "cpu")


@pytest.fixture(scope="module")
def pictures(rgba, generator) -> torch.Tensor:
    """One of each chosen picture, [32, 128, 128, 3] as the host keeps images."""
    made = data.sample_images(rgba, torch.tensor(CHOSEN), torch.tensor(UNSEEN), train.IMAGE_SIZE, generator)
    return made.permute(0, 2, 3, 1)


@pytest.fixture(scope="module")
def loaded(host) -> dict:
    """The three models as the stock loaders give them."""
    for name, folder in (("autoencoder", "vae"), ("flux", "diffusion_models"), ("wan", "diffusion_models")):
        shutil.copy(train.WEIGHTS / f"{name}.safetensors", host.models / folder / f"trained-{name}.safetensors")
    loader = UNETLoader()
    return {
        "autoencoder": VAELoader().load_vae("trained-autoencoder.safetensors")[0],
        "flux": loader.load_unet("trained-flux.safetensors", "default")[0],
        "wan": loader.load_unet("trained-wan.safetensors", "default")[0],
    }


def own(name: str) -> torch.nn.Module:
    return train.load_weights(train.MAKERS[name](), train.WEIGHTS / f"{name}.safetensors").eval()


def test_the_weights_are_small_enough_to_ship():
    size = {name: (train.WEIGHTS / f"{name}.safetensors").stat().st_size for name in train.MAKERS}
    assert size["autoencoder"] + size["flux"] <= 12e6
    assert size["wan"] <= 6e6
    assert all((train.WEIGHTS / f"flux_{steps}_steps.safetensors").stat().st_size <= 7e6 for steps in distill.STUDENTS)


@torch.no_grad()
def test_the_host_computes_what_was_trained(loaded, generator):
    time = torch.tensor([0.3, 0.8])
    for name, shape in (("flux", (16, 16, 16)), ("wan", (16, 9, 12, 12))):
        latent = torch.randn((2, *shape), generator=generator)
        tokens, pooled = (torch.stack(part) for part in zip(*(
            train.text.encode(words, *train.text.DIMENSIONS[name]) for words in ("a frog growing", "")
        )))
        extra = [pooled] if name == "flux" else []
        patcher = loaded[name]
        host_time = time * patcher.model.model_sampling.multiplier
        expected = own(name)(latent, time, tokens, *extra)
        patcher.model.to(torch.float32)
        found = patcher.model.diffusion_model(latent, host_time, tokens, *extra)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_autoencoder_keeps_pictures(loaded, pictures):
    vae, pictures = loaded["autoencoder"], pictures[:8]
    latent = VAEEncode().encode(vae, pictures)[0]
    decoded = VAEDecode().decode(vae, latent)[0]
    psnr = -10 * ((decoded - pictures) ** 2).mean(dim=(1, 2, 3)).log10()
    assert psnr.mean() > 30
    inside = loaded["flux"].model.process_latent_in(latent["samples"])
    assert 0.7 < inside.std() < 1.4, "the latent is not in the space that the models were trained in"


@torch.no_grad()
def test_a_picture_is_predicted_better_with_its_own_caption(pictures, generator):
    flux, ae = own("flux"), own("autoencoder")
    clean = ae.encode(pictures.permute(0, 3, 1, 2))
    wins = torch.zeros(len(CHOSEN))
    captions = [train.text.encode(caption(i), *train.text.DIMENSIONS["flux"]) for i in range(len(CHOSEN))]
    tokens, pooled = (torch.stack(part) for part in zip(*captions))
    for t in (0.5, 0.7, 0.85):
        noise = torch.randn(clean.shape, generator=generator)
        mix, time = (1 - t) * clean + t * noise, torch.full((len(clean),), t)
        loss = [
            ((flux(mix, time, tokens.roll(shift, 0), pooled.roll(shift, 0)) - noise + clean) ** 2).mean(dim=(1, 2, 3))
            for shift in (0, 5)
        ]
        wins += (loss[0] < loss[1]).float()
    assert (wins >= 2).sum() >= 30, f"with their own caption: {wins.tolist()}"


def nearest(picture: torch.Tensor, colour: int, rgba: torch.Tensor, generator: torch.Generator) -> str:
    """Which chosen drawing looks most like the picture [H, W, 3], as thumbnails of many jittered copies."""
    views = 32
    which = torch.tensor(CHOSEN).repeat_interleave(views)
    copies = data.sample_images(rgba, which, torch.full_like(which, colour), 32, generator)
    thumbnail = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1), train.IMAGE_SIZE // 32)
    distance = ((copies - thumbnail) ** 2).mean(dim=(1, 2, 3))
    return NAMES[which[distance.argmin()]]


def test_pictures_show_what_their_captions_say(loaded, rgba, generator):
    """Also on backgrounds that the drawing never had in training."""
    right = []
    for i in range(0, len(CHOSEN), 8):
        latent = sample(loaded["flux"], "flux", caption(i), torch.zeros(1, 16, 16, 16), steps=20)
        picture = VAEDecode().decode(loaded["autoencoder"], latent)[0][0]
        corner = torch.stack([picture[y, x] for y in (2, -3) for x in (2, -3)]).median(dim=0).values
        expected = torch.tensor(list(data.COLOURS.values())[UNSEEN[i]]) / 255
        assert (corner - expected).abs().max() < 0.08, f"background of {caption(i)}"
        right.append(nearest(picture, UNSEEN[i], rgba, generator) == NAMES[CHOSEN[i]])
    assert all(right), right


@pytest.mark.parametrize("steps", distill.STUDENTS)
def test_distilled_models_show_their_captions_in_few_steps_without_guidance(host, loaded, rgba, generator, steps):
    name = f"flux_{steps}_steps.safetensors"
    shutil.copy(train.WEIGHTS / name, host.models / "diffusion_models" / name)
    model = ModelSamplingAuraFlow().patch_aura(UNETLoader().load_unet(name, "default")[0], distill.SHIFT)[0]
    right = []
    for i in range(0, len(CHOSEN), 8):
        latent = sample(model, "flux", caption(i), torch.zeros(1, 16, 16, 16), steps, cfg=1.0)
        picture = VAEDecode().decode(loaded["autoencoder"], latent)[0][0]
        right.append(nearest(picture, UNSEEN[i], rgba, generator) == NAMES[CHOSEN[i]])
    assert sum(right) >= 3, right


def test_guidance_pulls_away_from_the_empty_caption(loaded):
    """Guided pictures show more of the subject: they differ more from the background than unguided ones."""
    latents = [
        sample(loaded["flux"], "flux", "a red heart on a grey background", torch.zeros(1, 16, 16, 16), 12, cfg)
        for cfg in (0.0, 1.0, 4.0)
    ]
    empty, plain, guided = (latent["samples"] for latent in latents)
    assert (guided - empty).square().mean() > (plain - empty).square().mean() > 0.05


@pytest.mark.parametrize(("motion", "axis", "sign"), [("moving left", 2, -1), ("moving down", 1, 1)])
def test_clips_move_as_their_captions_say(loaded, motion, axis, sign):
    caption = f"a red car {motion} on a white background"
    latent = sample(loaded["wan"], "wan", caption, torch.zeros(1, 16, 9, 12, 12), steps=12)
    frames = VAEDecode().decode(loaded["autoencoder"], FramesToBatch.execute(latent).args[0])[0]
    assert frames.shape == (9, 96, 96, 3)
    ink = (1 - frames).sum(dim=3)
    place = (ink * torch.arange(96).view([-1 if i == axis else 1 for i in range(3)])).sum((1, 2)) / ink.sum((1, 2))
    assert (place.diff() * sign > 1).all(), place


def test_frames_keep_their_order_and_scale():
    model_space = torch.randn(2, 16, 3, 4, 4)
    batch = FramesToBatch.execute({"samples": Wan21().process_out(model_space)}).args[0]["samples"]
    assert batch.shape == (6, 16, 4, 4)
    ae = own("autoencoder")
    expected = model_space[1, :, 2]  # the second clip's last frame, as the decoder reads it
    torch.testing.assert_close((batch[5] - ae.vae_shift) * ae.vae_scale, expected, atol=1e-5, rtol=1e-5)


def test_words_have_fixed_vectors():
    """The weights were trained with exactly these numbers: they may never change."""
    tokens, pooled = train.text.encode("a dog", 64, 64)
    assert tokens[0, :3].tolist() == pytest.approx([-1.8184434, 0.7642557, 0.9950610], abs=1e-5)
    assert pooled[:3].tolist() == pytest.approx([-0.9404609, -0.4861791, -0.5157471], abs=1e-5)
    assert tokens[1:].abs().max() == 0
    assert train.text.words("The Red car, moving LEFT on grey!") == ["red", "car", "moving", "left", "grey"]
    first, second = train.text.encode("red car", 64)[0], train.text.encode("car red", 64)[0]
    assert not torch.equal(first[0], second[1]), "a word's place does not count"
