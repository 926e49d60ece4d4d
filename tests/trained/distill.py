"""Distill the FLUX demo model to few steps without guidance: `python tests/run.py trained.distill --states FILE`.

Guided progressive distillation (Salimans and Ho 2022, arXiv 2202.00512; Meng et al. 2023, arXiv 2210.03142). A student
of N steps learns, at each of its N noise levels, the guided teacher's mean velocity until the next one, so that one of
its Euler steps without guidance covers all of the teacher's in between. The 8-step student starts from the teacher, the
4-step student from the 8-step one. Writes `flux_8_steps.safetensors` and `flux_4_steps.safetensors` in `weights/`.
"""

from __future__ import annotations

import argparse
import time as clock
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.host_nodes import text
from tests.trained import data, train
from tests.trained.flux import Flux

STUDENTS = (8, 4)  # steps, in the order in which they are trained
SUBSTEPS = 2  # steps of the teacher's multistep solver in one step of the first student
GUIDANCE, SHIFT = 2.0, 3.0
SHAPE = (16, 16, 16)
NO_COLOUR = 0.15


def noise_levels(steps: int) -> torch.Tensor:
    """[steps + 1] times 1..0 of the host's `simple` scheduler at shift `SHIFT`."""
    times = torch.linspace(1, 0, steps + 1)
    return SHIFT * times / (1 + (SHIFT - 1) * times)


def training_captions(count: int, generator: torch.Generator) -> list[str]:
    """Captions of pairings that are not held out, some without their colour."""
    _, names, _ = data.read_names()
    colours = list(data.COLOURS)
    pairings = [(p, c) for p in range(len(names)) for c in range(len(colours)) if not data.is_held_out(p, c)]
    chosen = torch.randperm(len(pairings), generator=generator)[torch.arange(count) % len(pairings)].tolist()
    plain = (torch.rand(count, generator=generator) < NO_COLOUR).tolist()
    return [data.image_caption(names[pairings[i][0]], "" if no_colour else colours[pairings[i][1]])
            for i, no_colour in zip(chosen, plain, strict=True)]


def encode(captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, T, 64] and pooled vectors [B, 64]."""
    tokens, pooled = zip(*(text.encode(caption, *text.DIMENSIONS["flux"]) for caption in captions), strict=True)
    return torch.stack(tokens), torch.stack(pooled)


@torch.no_grad()
def trajectories(teacher: Flux, captions: list[str], generator: torch.Generator) -> torch.Tensor:
    """The guided teacher's states [B, STUDENTS[0] + 1, ...] at the first student's noise levels.

    Two-step Adams-Bashforth over the noise level, `SUBSTEPS` steps between two states.
    """
    tokens, pooled = encode([*captions, *[""] * len(captions)])
    x = torch.randn((len(captions), *SHAPE), generator=generator)
    times, states = noise_levels(STUDENTS[0] * SUBSTEPS).tolist(), [x]
    before = step_before = None
    for i, (now, then) in enumerate(pairwise(times)):
        time = torch.full((2 * len(x),), now)
        conditional, empty = teacher(torch.cat((x, x)), time, tokens, pooled).chunk(2)
        velocity, step = empty + GUIDANCE * (conditional - empty), then - now
        slope = 0.0 if before is None else (velocity - before) / step_before
        x = x + step * (velocity + 0.5 * step * slope)
        before, step_before = velocity, step
        if (i + 1) % SUBSTEPS == 0:
            states.append(x)
    return torch.stack(states, dim=1)


def collect(teacher: Flux, captions: list[str], path: Path, batch: int = 16) -> torch.Tensor:
    """The trajectories of all captions, continued from what an earlier run left in `path`."""
    states = [load_file(path)["states"]] if path.exists() else []
    while (done := sum(map(len, states))) < len(captions):
        generator = torch.Generator().manual_seed(10_000 + done)
        states.append(trajectories(teacher, captions[done:done + batch], generator).half())
        save_file({"states": torch.cat(states)}, path)
        print(f"{done + len(states[-1])} of {len(captions)} trajectories", flush=True)
    return torch.cat(states)


def distill(student: Flux, states: torch.Tensor, captions: list[str], steps: int, updates: int, batch: int,
            rate: float) -> Flux:
    """Regress the student's velocity at noise level i on the mean velocity between the states at i and i + 1."""
    states, times = states[:, ::STUDENTS[0] // steps], noise_levels(steps)
    tokens, pooled = encode(captions)
    generator = torch.Generator().manual_seed(steps)
    # Not train.optimizers: Muon orthogonalises in bfloat16, which takes most of the time on a CPU.
    optimizer, start = torch.optim.AdamW(student.parameters(), betas=(0.9, 0.95), weight_decay=0.0), clock.monotonic()
    mean = 0.0
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (update + 1) / 20, 1.5 * (1 - update / updates))
        row = torch.randint(len(states), (batch,), generator=generator)
        level = torch.arange(batch) % steps
        now, then = states[row, level].float(), states[row, level + 1].float()
        target = (then - now) / (times[level + 1] - times[level]).view(-1, 1, 1, 1)
        loss = (student(now, times[level], tokens[row], pooled[row]) - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        mean += (loss.item() - mean) / min(update + 1, 20)
        if update % 10 == 0 or update == updates - 1:
            print(f"{steps} steps: update {update}, loss {mean:.4f}, {clock.monotonic() - start:.0f} s", flush=True)
    return student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=Path, required=True, help="file of the teacher's trajectories; continued")
    parser.add_argument("--count", type=int, default=416, help="trajectories")
    parser.add_argument("--updates", type=int, nargs=len(STUDENTS), default=(80, 60), help="of each student")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=6e-4, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, default=train.WEIGHTS, help="folder that the students are written to")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    model = train.load_weights(train.make_flux(), train.WEIGHTS / "flux.safetensors")
    captions = training_captions(options.count, torch.Generator().manual_seed(0))
    states = collect(model, captions, options.states)
    for steps, updates in zip(STUDENTS, options.updates, strict=True):
        path = options.weights / f"flux_{steps}_steps.safetensors"
        if path.exists():
            train.load_weights(model, path)
            continue
        train.save_weights(distill(model, states, captions, steps, updates, options.batch, options.rate), path)
        print(path.name, "written:", path.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
