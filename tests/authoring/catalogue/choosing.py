"""Workflows about ReCache itself: training, comparing, choosing a budget."""

from __future__ import annotations

from tests.authoring.catalogue.flux import FLUX, FLUX_RUN, flux_loaders
from tests.authoring.catalogue.parts import LOADERS, SAVE, budget, decode, ksampler, report, text, video
from tests.authoring.catalogue.wan import WAN_NEGATIVE, WAN_T2V, wan_loaders, wan_shift
from tests.authoring.catalogue.workflow import NEGATIVE, Workflow


def _trained(about: str, more: str) -> str:
    return "\n".join([
        "## Training a policy", "",
        f"**ReCache Train** takes what goes into your sampler, without ReCache, and learns {about}", "",
        "It makes uncached outputs first, then tries schedules and keeps what comes closest to them. Watch the curve: "
        "when it is flat, press *Stop and keep the best*. Nothing is lost if you cancel: queue again to go on.", "",
        "**ReCache Save Policy** writes a small file into `models/recache`. ReCache takes it from there in "
        "every workflow with this model (policy *auto*), and you can share it.", "", more])


_PROMPTS = (
    "a red fox asleep on a mossy stone wall, morning light, 35mm photograph",
    "a crowded night market seen from above, neon signs, rain",
    "portrait of an old fisherman in a yellow raincoat, overcast sky")

train_flux = Workflow(
    name="Train a policy for FLUX.1-dev",
    template="",
    nodes={
        **flux_loaders,
        "positive": text(_PROMPTS[0]), "second": text(_PROMPTS[1]), "third": text(_PROMPTS[2]),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "prompt": ("ReCacheTrainingPrompt", {"positive": ("second", 0), "negative": ("negative", 0)}),
        "prompt 2": ("ReCacheTrainingPrompt", {
            "positive": ("third", 0), "negative": ("negative", 0), "previous": ("prompt", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "train": ("ReCacheTrain", {
            "model": ("unet", 0), "positive": ("positive", 0), "negative": ("negative", 0),
            "latent_image": ("latent", 0), "vae": ("vae", 0), "prompts": ("prompt 2", 0), "seed": 1, "steps": 20,
            "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "budgets": "0.2, 0.3, 0.4",
            "samples": 2, "evaluations": 3000, "minutes": 0.0}),
        "policy": ("ReCacheSavePolicy", {"policy": ("train", 0), "name": "flux1-dev-20-steps", "notes": ""}),
        "budget": budget(("unet", 0), 0.4, trained=("train", 0)),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **FLUX_RUN, seed=100),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Prompts to learn on", ("positive", "second", "third", "negative", "prompt",
                                                       "prompt 2", "latent")),
        ("Train", ("train", "note")), ("Keep it, and use it at once", ("policy", "budget", "sampler")),
        ("Picture", ("report", "decode", "save"))),
    files=FLUX,
    note=_trained("which evaluations are worth computing at each of the budgets, on three prompts.",
                  "3,000 evaluations at half a second each are 25 minutes. The best schedules are chosen by their "
                  "pictures, because the VAE is connected."),
    line="three prompts, three budgets", evaluations=20, budget=0.4,
    titles={"positive": "Prompt 1", "second": "Prompt 2", "third": "Prompt 3"},
)

train_wan = Workflow(
    name="Train a policy for Wan 2.1",
    template="",
    nodes={
        **wan_loaders, "shift": wan_shift,
        "positive": text("a paper boat drifts down a rain-soaked gutter, city lights reflected in the water"),
        "second": text("a potter's hands shape a bowl on a spinning wheel, close-up"),
        "negative": text(WAN_NEGATIVE),
        "prompt": ("ReCacheTrainingPrompt", {"positive": ("second", 0), "negative": ("negative", 0)}),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 832, "height": 480, "length": 33, "batch_size": 1}),
        "train": ("ReCacheTrain", {
            "model": ("shift", 0), "positive": ("positive", 0), "negative": ("negative", 0),
            "latent_image": ("latent", 0), "prompts": ("prompt", 0), "seed": 1, "steps": 30, "cfg": 6.0,
            "sampler_name": "uni_pc", "scheduler": "simple", "denoise": 1.0, "budgets": "0.2, 0.3, 0.4", "samples": 2,
            "evaluations": 2000, "minutes": 0.0}),
        "policy": ("ReCacheSavePolicy", {"policy": ("train", 0), "name": "wan2.1-30-steps", "notes": ""}),
        "budget": budget(("shift", 0), 0.4, trained=("train", 0)),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=30, cfg=6.0,
                            sampler="uni_pc", scheduler="simple", seed=100),
        "report": report("sampler"), "decode": decode(("report", 0)), **video(16.0),
    },
    groups=(
        ("Models", (*LOADERS, "shift")), ("Prompts to learn on", ("positive", "second", "negative", "prompt",
                                                                   "latent")),
        ("Train", ("train", "note")), ("Keep it, and use it at once", ("policy", "budget", "sampler")),
        ("Video", ("report", "decode", "video", "save"))),
    files=WAN_T2V,
    note=_trained("which evaluations are worth computing at each of the budgets, on two prompts.",
                  "2,000 evaluations take 2,000 times what one step of your sampler takes. The clips are compared as "
                  "latents; connect the VAE to choose by their pictures, which takes a little longer."),
    line="two prompts, three budgets", evaluations=30, budget=0.4,
    titles={"positive": "Prompt 1", "second": "Prompt 2", "negative": NEGATIVE},
)

compare = Workflow(
    name="Compare cached and uncached",
    template="",
    nodes={
        **flux_loaders,
        "positive": text(_PROMPTS[0]),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "uncached": ksampler("unet", ("positive", 0), ("negative", 0), ("latent", 0), **FLUX_RUN, seed=1),
        "budget": budget(("unet", 0), 0.5),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **FLUX_RUN, seed=1),
        "report": report("sampler"),
        "decode uncached": decode(("uncached", 0)),
        "decode": decode(("report", 0)),
        "compare": ("ReCacheCompare", {
            "uncached": ("decode uncached", 0), "cached": ("decode", 0), "rows": 4, "heat_scale": 0.2}),
    },
    groups=(
        ("Models", LOADERS), ("Prompt and size", ("positive", "negative", "latent")),
        ("ReCache", ("budget", "note")), ("The same seed, twice", ("uncached", "sampler")),
        ("Pictures", ("report", "decode uncached", "decode")), ("Compare", ("compare",))),
    files=FLUX,
    note="\n".join([
        "## Cached and uncached, side by side", "",
        "Both samplers have the same seed, prompt and settings; only the second gets its model from "
        "**ReCache**. **ReCache Compare** shows both pictures and a heat map of where they differ, with LPIPS, "
        "PSNR and SSIM.", "",
        "Move the budget and queue again: the uncached picture is not made anew. A batch or the frames of a clip are "
        "compared pair by pair. With another seed, change it on both samplers."]),
    line="both pictures, a heat map, figures", evaluations=20, budget=0.5,
    titles={"uncached": "KSampler, uncached", "sampler": "KSampler, cached",
            "decode uncached": "VAE Decode, uncached", "decode": "VAE Decode, cached"},
)

frontier = Workflow(
    name="Choose a budget by the frontier",
    template="",
    nodes={
        **flux_loaders,
        "positive": text(_PROMPTS[0]),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "frontier": ("ReCacheFrontier", {
            "model": ("unet", 0), "positive": ("positive", 0), "negative": ("negative", 0),
            "latent_image": ("latent", 0), "vae": ("vae", 0), "seed": 1, "steps": 20, "cfg": 1.0,
            "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "budgets": "0.2, 0.3, 0.4, 0.5",
            "samples": 2, "fewer_steps": True, "policy": "auto"}),
        "budget": budget(("unet", 0), ("frontier", 1)),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **FLUX_RUN, seed=100),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Prompt and size", ("positive", "negative", "latent")),
        ("Frontier", ("frontier", "note")), ("Use the budget at the knee", ("budget", "sampler")),
        ("Picture", ("report", "decode", "save"))),
    files=FLUX,
    note="\n".join([
        "## What a budget buys", "",
        "**ReCache Frontier** runs your own workflow without a cache and at every budget that you list, and draws "
        "quality against time. The knee is where more time stops buying much quality.", "",
        "It also runs fewer steps without a cache, as many as each budget computes: what you would do without "
        "ReCache.", "",
        "The budget at the knee goes straight into **ReCache**. To set it by hand from then on, remove that "
        "link, and bypass ReCache Frontier."]),
    line="quality against time, the knee marked", evaluations=20, budget=0.5,
)
