"""Train the demo models: `python tests/run.py trained.train autoencoder flux --seconds 160 265`.

Each stage runs for its number of seconds, then writes `weights/<stage>.safetensors` (float16, averaged weights).
`flux` and `wan` encode their training pictures with the autoencoder in the same folder. `--resume` continues from the
weights that are there. `--preview` also samples a sheet of pictures.
"""

from __future__ import annotations

import argparse
import copy
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.host_nodes import text
from tests.trained import WEIGHTS, autoencoder, data
from tests.trained.flux import Flux
from tests.trained.wan import Wan

DATA = Path(__file__).parent / "emoji.npz"
IMAGE_SIZE = 128
VIDEO_SIZE, VIDEO_FRAMES = 96, 9
ATTRIBUTION = "Trained on Twemoji graphics (c) Twitter, Inc and other contributors, CC-BY 4.0"


def make_autoencoder() -> autoencoder.Autoencoder:
    return autoencoder.Autoencoder()


def make_flux() -> Flux:
    context, pooled = text.DIMENSIONS["flux"]
    return Flux(dim=128, double=2, single=8, context=context, pooled=pooled)


def make_wan() -> Wan:
    return Wan(dim=128, ffn_dim=512, layers=8, context=text.DIMENSIONS["wan"][0])


MAKERS: dict[str, Callable[[], nn.Module]] = {"autoencoder": make_autoencoder, "flux": make_flux, "wan": make_wan}


@dataclass(frozen=True)
class TrainConfig:
    """batch: samples a step; rate: peak learning rate; views: jittered views of each training pairing."""

    batch: int
    rate: float
    views: int
    no_caption: float = 0.12
    no_colour: float = 0.3


SETTINGS = {
    "autoencoder": TrainConfig(batch=96, rate=7e-4, views=0),
    "flux": TrainConfig(batch=2048, rate=2e-3, views=64),
    "wan": TrainConfig(batch=384, rate=2e-3, views=12),
}


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    model.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return model


def save_weights(model: nn.Module, path: Path) -> None:
    """Half precision, but for single numbers (the autoencoder's scale and shift)."""
    tensors = {key: value.half() if value.ndim else value for key, value in model.state_dict().items()}
    tensors = {key: value.contiguous().cpu() for key, value in tensors.items()}
    save_file(tensors, path, metadata={"attribution": ATTRIBUTION})


def optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks, AdamW for everything else."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "blocks." in name]
    taken = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    made: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)]
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
    return made


def fit(
    model: nn.Module, losses: Callable[[], torch.Tensor], rate: float, seconds: float, max_steps: int, name: str
) -> nn.Module:
    """Train until the time or the steps are over; returns the exponentially averaged model."""
    averaged = copy.deepcopy(model).requires_grad_(False)
    pairs = (list(averaged.parameters()), list(model.parameters()))
    makers = optimizers(model, rate)
    step, start, warm_up = 0, clock.monotonic(), 100
    while True:
        if step == 3:  # compilation happens before this
            start = clock.monotonic()
        progress = max((clock.monotonic() - start) / seconds, step / max_steps)
        if progress >= 1 and step > 3:
            break
        for maker in makers:
            for group in maker.param_groups:
                group["lr"] = rate * min(1, (step + 1) / warm_up, max(0.01, (1 - progress) / 0.5))
        loss = losses()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for maker in makers:
            maker.step()
            maker.zero_grad(set_to_none=True)
        torch._foreach_lerp_(*pairs, max(0.002, 1 / (step + 1)))
        if step % 200 == 0:
            print(f"{name} step {step} loss {loss.item():.4f} seconds {clock.monotonic() - start:.0f}", flush=True)
        step += 1
    print(f"{name} done: {step} steps, loss {loss.item():.4f}, {clock.monotonic() - start:.0f} s", flush=True)
    return averaged


def compile_blocks(model: nn.Module) -> None:
    """Compile one block of each kind; the others share its code."""
    for name in ("double_blocks", "single_blocks", "blocks"):
        for block in getattr(model, name, ()):
            block.compile()


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, dtype=torch.bfloat16)


def train_autoencoder(
    model: autoencoder.Autoencoder, rgba: torch.Tensor, generator: torch.Generator, settings: TrainConfig,
    seconds: float, max_steps: int,
) -> nn.Module:
    device = rgba.device.type
    model.to(memory_format=torch.channels_last)

    def batch() -> torch.Tensor:
        picture = torch.randint(len(rgba), (settings.batch,), device=device, generator=generator)
        colour = torch.randint(len(data.COLOURS), (settings.batch,), device=device, generator=generator)
        images = data.sample_images(rgba, picture, colour, IMAGE_SIZE, generator, scales=(0.3, 0.95))
        return images.contiguous(memory_format=torch.channels_last)

    loss_function = torch.compile(autoencoder.loss) if device == "cuda" else autoencoder.loss

    def losses() -> torch.Tensor:
        with autocast(device):
            return loss_function(model, batch())[0]

    averaged = fit(model, losses, settings.rate, seconds, max_steps, "autoencoder")
    with torch.no_grad():
        squared = autoencoder.loss(averaged, batch(), latent_noise=0.0)[1]
    print(f"autoencoder PSNR {-10 * squared.log10().item():.2f} dB", flush=True)
    return averaged


def _chunks(*indices: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    yield from zip(*(index.split(size) for index in indices), strict=True)


@torch.no_grad()
def encode_images(
    ae: autoencoder.Autoencoder, rgba: torch.Tensor, views: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [n, 16, 16, 16] half, and indices [n, 2] of picture and colour, of the pairings that are trained on."""
    pairs = [(p, c) for p in range(len(rgba)) for c in range(len(data.COLOURS)) if not data.is_held_out(p, c)]
    index = torch.tensor(pairs, device=rgba.device).repeat(views, 1)
    latents = []
    for picture, colour in _chunks(index[:, 0], index[:, 1], size=512):
        with autocast(rgba.device.type):
            latents.append(ae.encode(data.sample_images(rgba, picture, colour, IMAGE_SIZE, generator)).half())
    return torch.cat(latents), index


@torch.no_grad()
def encode_clips(
    ae: autoencoder.Autoencoder, rgba: torch.Tensor, views: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [n, 16, frames, 12, 12] half, and indices [n, 3] of picture, colour and motion."""
    triples = [
        (p, c, m)
        for p in range(data.read_names()[2]) for c in range(len(data.COLOURS)) for m in range(len(data.MOTIONS))
        if not data.is_held_out(p, c)
    ]
    index = torch.tensor(triples, device=rgba.device).repeat(views, 1)
    latents = []
    for picture, colour, motion in _chunks(*index.unbind(1), size=64):
        clips = data.sample_clips(rgba, picture, colour, motion, VIDEO_FRAMES, VIDEO_SIZE, generator)
        with autocast(rgba.device.type):
            latent = ae.encode(clips.flatten(0, 1)).half()
        latents.append(latent.unflatten(0, (-1, VIDEO_FRAMES)).transpose(1, 2))
    return torch.cat(latents), index


class Captions:
    """Token and pooled vectors of every caption of the data set, looked up by the indices of the encoders above."""

    def __init__(self, video: bool, device: str) -> None:
        _, names, video_count = data.read_names()
        motions = data.MOTIONS if video else ("",)
        colours = (*data.COLOURS, None)
        self.shape = (video_count if video else len(names), len(colours), len(motions))
        captions = []
        for name in names[: self.shape[0]]:
            for colour in colours:
                for motion in motions:
                    parts = (name, motion, colour or "") if video else (name, colour or "")
                    captions.append(data.video_caption(*parts) if video else data.image_caption(*parts))
        dims = text.DIMENSIONS["wan" if video else "flux"]
        encoded = [text.encode(caption, *dims) for caption in (*captions, "")]
        self.tokens, self.pooled = (torch.stack(part).to(device) for part in zip(*encoded, strict=True))

    def lookup(
        self, index: torch.Tensor, settings: TrainConfig, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Captions of samples [B, 2 or 3]; some lose their colour, some are empty."""
        picture, colour = index[:, 0], index[:, 1]
        motion = index[:, 2] if index.shape[1] == 3 else torch.zeros_like(picture)
        chance = torch.rand(len(index), device=index.device, generator=generator)
        colour = torch.where(chance < settings.no_caption + settings.no_colour, self.shape[1] - 1, colour)
        row = (picture * self.shape[1] + colour) * self.shape[2] + motion
        row = torch.where(chance < settings.no_caption, len(self.tokens) - 1, row)
        return self.tokens[row], self.pooled[row]


def train_velocity(
    model: nn.Module, bank: tuple[torch.Tensor, torch.Tensor], captions: Captions, shift: float,
    generator: torch.Generator, settings: TrainConfig, seconds: float, max_steps: int, name: str,
) -> nn.Module:
    """Flow matching: x = (1 - t) latent + t noise, target noise - latent; `shift` moves the times towards noise."""
    latents, index = bank
    device = latents.device.type
    if device == "cuda":
        compile_blocks(model)

    def losses() -> torch.Tensor:
        row = torch.randint(len(latents), (settings.batch,), device=device, generator=generator)
        clean = latents[row].float()
        noise = torch.randn(clean.shape, device=device, generator=generator)
        normal = torch.randn(settings.batch, device=device, generator=generator)
        uniform = torch.rand(settings.batch, device=device, generator=generator)
        t = torch.where(torch.arange(settings.batch, device=device) % 4 == 0, uniform, normal.sigmoid())
        t = shift * t / (1 + (shift - 1) * t)
        mix = t.view(-1, *[1] * (clean.ndim - 1))
        tokens, pooled = captions.lookup(index[row], settings, generator)
        with autocast(device):
            velocity = model((1 - mix) * clean + mix * noise, t, tokens, *([pooled] if pooled.shape[1] else []))
        return ((velocity.float() - (noise - clean)) ** 2).mean()

    return fit(model, losses, settings.rate, seconds, max_steps, name)


@torch.no_grad()
def sample(
    model: nn.Module, captions: list[str], dims: tuple[int, int], shape: tuple[int, ...], cfg: float, shift: float,
    steps: int, seed: int, device: str,
) -> torch.Tensor:
    """Euler steps with classifier-free guidance, as the host's `euler` sampler with the `simple` scheduler."""
    encoded = [text.encode(caption, *dims) for caption in (*captions, *[""] * len(captions))]
    tokens, pooled = (torch.stack(part).to(device) for part in zip(*encoded, strict=True))
    extra = [pooled] if dims[1] else []
    x = torch.randn((len(captions), *shape), generator=torch.Generator().manual_seed(seed)).to(device)
    times = torch.linspace(1, 0, steps + 1)
    times = shift * times / (1 + (shift - 1) * times)
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        time = torch.full((2 * len(x),), now, device=device)
        velocity, empty = model(torch.cat((x, x)), time, tokens, *extra).chunk(2)
        x = x + (then - now) * (empty + cfg * (velocity - empty))
    return x


def save_sheet(images: torch.Tensor, columns: int, path: Path) -> None:
    """Images [n, 3, h, w] in 0..1 as one PNG, row by row."""
    from PIL import Image

    n, _, height, width = images.shape
    rows = -(-n // columns)
    canvas = torch.ones(rows * columns, 3, height, width)
    canvas[:n] = images.float().cpu().clamp(0, 1)
    canvas = canvas.view(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    Image.fromarray((canvas * 255).round().byte().numpy()).save(path)


@torch.no_grad()
def preview(stage: str, model: nn.Module, ae: autoencoder.Autoencoder, folder: Path, device: str) -> None:
    _, names, video_count = data.read_names()
    colours = list(data.COLOURS)
    if stage == "flux":
        chosen = [(i * 7) % len(names) for i in range(48)]
        texts = [data.image_caption(names[p], colours[i % 8]) for i, p in enumerate(chosen)]
        for cfg in (1.0, 3.0):
            latent = sample(model, texts, text.DIMENSIONS["flux"], (16, 16, 16), cfg, 1.0, 50, 0, device)
            save_sheet(ae.decode(latent), 12, folder / f"flux_cfg{cfg:g}.png")
    else:
        texts = [
            data.video_caption(names[(i * 5) % video_count], data.MOTIONS[i % 6], colours[i % 8]) for i in range(12)
        ]
        for cfg in (1.0, 3.0):
            latent = sample(model, texts, text.DIMENSIONS["wan"], (16, VIDEO_FRAMES, 12, 12), cfg, 8.0, 50, 0, device)
            frames = ae.decode(latent.transpose(1, 2).flatten(0, 1))
            save_sheet(frames, VIDEO_FRAMES, folder / f"wan_cfg{cfg:g}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=list(MAKERS))
    parser.add_argument("--data", type=Path, default=DATA, help="the file that `trained.data` wrote")
    parser.add_argument("--seconds", type=float, nargs="+", required=True, help="training time of each stage")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--batch", type=int, help="samples a step, instead of the stage's own setting")
    parser.add_argument("--views", type=int, help="jittered views of each pairing, instead of the stage's own setting")
    parser.add_argument("--resume", action="store_true", help="continue from the weights in the folder")
    parser.add_argument("--preview", type=Path, help="folder for sheets of sampled pictures")
    options = parser.parse_args()

    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    rgba = data.load(options.data, options.device)
    generator = torch.Generator(options.device).manual_seed(1)
    options.weights.mkdir(parents=True, exist_ok=True)
    for stage, seconds in zip(options.stages, options.seconds, strict=True):
        settings = SETTINGS[stage]
        settings = replace(settings, batch=options.batch or settings.batch, views=options.views or settings.views)
        path = options.weights / f"{stage}.safetensors"
        model = MAKERS[stage]().to(options.device)
        if options.resume and path.exists():
            load_weights(model, path)
        print(stage, sum(p.numel() for p in model.parameters()), "parameters", flush=True)
        if stage == "autoencoder":
            trained = train_autoencoder(model, rgba, generator, settings, seconds, options.max_steps)
        else:
            ae = load_weights(make_autoencoder(), options.weights / "autoencoder.safetensors").to(options.device)
            start = clock.monotonic()
            bank = (encode_images if stage == "flux" else encode_clips)(ae, rgba, settings.views, generator)
            print(f"{len(bank[0])} latents in {clock.monotonic() - start:.0f} s, std {bank[0].float().std():.3f}")
            captions = Captions(stage == "wan", options.device)
            shift = 1.0 if stage == "flux" else 3.0
            trained = train_velocity(
                model, bank, captions, shift, generator, settings, seconds, options.max_steps, stage
            )
        save_weights(trained, path)
        print(stage, "written:", path.stat().st_size, "bytes", flush=True)
        if options.preview and stage != "autoencoder":
            preview(stage, trained, ae, options.preview, options.device)


if __name__ == "__main__":
    main()
