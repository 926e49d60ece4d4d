"""ReCache Train: a policy from an artist's own workflow."""

from __future__ import annotations

from functools import partial

import comfy.utils
from comfy_api.latest import io, ui

from .. import caching
from ..policies.learning.checkpoint import Checkpoint
from .inputs import Policy, hidden_input
from .library import folders
from .pictures.training import training_picture
from .server import prompt_info, training_state
from .server.page import show_preview
from .server.wording import error_text, language
from .training import objective, sampler_inputs
from .training.cluster import connected
from .training.describe import describe_training
from .training.prepare import Prepared, prepare
from .training.preview import previews
from .training.progress import shown_on
from .training.request import QUICK_EVALUATIONS, Outcome
from .training.sampler_inputs import Sampling
from .training.training import train
from .training.worker import hand_over

Prompts = io.Custom("RECACHE_PROMPTS")


class ReCacheTrainingPrompt(io.ComfyNode):
    """One more prompt to train on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ReCacheTrainingPrompt",
            display_name="ReCache Training Prompt",
            category="model/recache",
            description="Adds a prompt to what ReCache Train learns on. Chain several; a policy that saw more than one "
                        "prompt holds better for others.",
            search_aliases=["more prompts", "training set", "recache"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt, encoded as for the sampler."),
                io.Conditioning.Input("negative", tooltip="Its negative prompt; without guidance any will do."),
                Prompts.Input("previous", optional=True, tooltip="The ReCache Training Prompt before this one."),
            ],
            outputs=[Prompts.Output(
                display_name="prompts", tooltip="For ReCache Train, or for one more ReCache Training Prompt.")],
        )

    @classmethod
    def execute(cls, positive, negative, previous: tuple = ()) -> io.NodeOutput:
        return io.NodeOutput((*previous, (positive, negative)))


def _search_inputs() -> list[io.Input]:
    return [
        io.String.Input(
            "budgets", default="0.14, 0.18, 0.26",
            tooltip="Shares of the full compute to learn for. The policy serves all budgets in between too; more of "
                    "them take longer."),
        io.Int.Input(
            "samples", default=4, min=1, max=64,
            tooltip="How many noises to learn on, for every prompt. More take longer and hold better for other seeds."),
        io.Int.Input(
            "evaluations", default=3600, min=100, max=10_000_000, step=100,
            tooltip="How many evaluations of the model the training may take in all: this times the seconds of one "
                    "step is how long it takes. Uncached runs and checks come first, a few hundred or more; the search "
                    "gets the rest. Watch the curve, and stop when it is flat."),
        io.Float.Input(
            "minutes", default=0.0, min=0.0, max=100_000.0, step=1.0,
            tooltip="Stop trying schedules after so many minutes and keep the best so far; the uncached runs before "
                    "and the comparison afterwards are made in any case. 0: no limit."),
        io.Combo.Input(
            "mechanism", options=[*caching.MECHANISMS, caching.AUTO], default=caching.AUTO, advanced=True,
            tooltip="How a skipped evaluation is reconstructed. auto: for every budget several are tried in short "
                    "runs, and the one closest to the original is trained. ReCache with the mechanism auto takes the "
                    "policy's."),
        io.Int.Input(
            "order", default=1, min=1, max=3, advanced=True,
            tooltip="Of taylor and hermite; use the policy with the same one."),
        io.Combo.Input(
            "cache_point", options=list(caching.CACHE_POINTS), default="auto", advanced=True,
            tooltip="Where features are taken; see ReCache."),
    ]


def _objective_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "distance", options=list(objective.DISTANCES), default="auto", advanced=True,
            tooltip="How outputs are compared with the uncached ones. auto: learns by the latents' error, and where a "
                    "VAE is connected chooses by the pictures' LPIPS (SSIM where LPIPS can't be had); with a reward it "
                    "learns by pictures too."),
        io.Combo.Input(
            "reward", options=list(objective.REWARDS), default="none", advanced=True,
            tooltip="What good pictures are rewarded for, besides being like the uncached ones. clip quality: CLIP "
                    "calls them good. clip prompt: CLIP finds them like the text under prompt. Both need a VAE, a CLIP "
                    "vision model and its CLIP."),
        io.Float.Input(
            "alpha", default=0.1, min=0.0, max=100.0, step=0.01, advanced=True,
            tooltip="How much the reward weighs against the distance."),
        io.Latent.Input(
            "references", optional=True,
            tooltip="Outputs of this workflow without a cache, if you have them (the batch that starts from the same "
                    "seed). They are checked, and made anew where there are none."),
        io.Vae.Input("vae", optional=True, tooltip="To compare pictures instead of latents."),
        io.ClipVision.Input("clip_vision", optional=True, tooltip="For a reward."),
        io.Clip.Input("clip", optional=True, tooltip="For a reward: the CLIP that belongs to the CLIP vision model."),
        io.String.Input("prompt", default="", multiline=True, optional=True, advanced=True,
                        tooltip="For the reward 'clip prompt': what the picture should show."),
        Prompts.Input("prompts", optional=True, tooltip="More prompts to learn on, from ReCache Training Prompt."),
        io.Boolean.Input(
            "quick", default=False, optional=True,
            tooltip="A policy from two noises and about 900 evaluations: the best of what can be tried without "
                    "a search. Samples and evaluations above are not used."),
        io.String.Input(
            "address", default="", optional=True, advanced=True,
            tooltip="To train on many GPUs with Ray. local: all GPUs of this machine. auto: the cluster that this "
                    "machine belongs to, or that RAY_ADDRESS names. Empty: in this ComfyUI."),
    ]


def _schema(node_id: str, name: str, sampled: Sampling) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=name,
        category="model/recache",
        description="Learns which evaluations of your own workflow are worth computing, so that ReCache stays "
                    f"closer to the original at the same speed. {sampled.connect}",
        search_aliases=["learn", "fit", "calibrate", "tune", "schedule", "train cache", "recache"],
        is_output_node=True,
        hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        inputs=[*sampled.inputs(), *_search_inputs(), *_objective_inputs()],
        outputs=[
            Policy.Output(display_name="policy", tooltip="For ReCache Save Policy, or straight for ReCache."),
            io.Image.Output(display_name="report",
                            tooltip="What was learned as a picture, beside a run without a policy."),
            io.String.Output(display_name="text", tooltip="The same in words."),
        ],
    )


class _Train(io.ComfyNode):
    """Base of the nodes: the host stores a node's schema on its class, so none can be the base of another."""

    sampled: Sampling

    @classmethod
    def execute(cls, **given) -> io.NodeOutput:
        return _train(cls, cls.sampled, **given)


class ReCacheTrain(_Train):
    """Learns which evaluations to compute, from the uncached outputs of a KSampler workflow."""

    sampled = sampler_inputs.KSAMPLER

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("ReCacheTrain", "ReCache Train", cls.sampled)


class ReCacheTrainTwoModels(_Train):
    """Learns which evaluations to compute of two models that work on one latent in turn, such as Wan 2.2's."""

    sampled = sampler_inputs.TWO_MODELS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("ReCacheTrainTwoModels", "ReCache Train (Two Models)", cls.sampled)


class ReCacheTrainCustom(_Train):
    """Learns which evaluations to compute, from the uncached outputs of a SamplerCustomAdvanced workflow."""

    sampled = sampler_inputs.CUSTOM

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("ReCacheTrainCustom", "ReCache Train (Custom Sampling)", cls.sampled)


def _train(cls, sampled: Sampling, *, evaluations: int, quick: bool = False, references: dict | None = None,
           address: str = "", **given) -> io.NodeOutput:
    evaluations = QUICK_EVALUATIONS if quick else evaluations
    node_id = hidden_input(cls, "unique_id")
    workflow_id = prompt_info.workflow_id(hidden_input(cls, "extra_pnginfo"))
    with training_state.training(node_id, workflow_id, evaluations) as monitor:
        try:
            training = prepare(sampled, evaluations=evaluations, quick=quick, **given)
            if hand_over(training):
                return io.NodeOutput(None, None, "")
            training.workflow.preview = previews(
                training.workflow.model, partial(show_preview, workflow_id, node_id))
            outcome = _outcome(
                monitor, node_id, hidden_input(cls, "prompt"), training, references, address.strip())
        except ValueError as error:
            raise ValueError(f"ReCache Train: {error_text(error)}") from None
        text, picture = describe_training(outcome, language()), training_picture(outcome)
        monitor.end("done", text.splitlines()[0])
    shown = ui.PreviewImage(picture, cls=cls).as_dict() | {"text": (text,)}
    return io.NodeOutput(outcome.policy, picture, text, ui=shown)


def _outcome(monitor: training_state.TrainingMonitor, node_id: str | None, prompt: dict | None, training: Prepared,
             references: dict | None, address: str) -> Outcome:
    notes = training.notes
    checkpoint = Checkpoint(folders.training_folder(training.fingerprint),
                            lambda code, **fields: notes.append(caching.Reason(code, fields)))
    bar = comfy.utils.ProgressBar(1000, node_id=node_id)
    if address:
        monitor.update(phase="cluster")
    with connected(address, prompt, node_id, training.fingerprint, notes) as cluster:
        return train(training.workflow, training.request, training.objectives, checkpoint, training.about,
                     None if references is None else training.workflow.joined(references["samples"]),
                     shown_on(monitor, bar, training.request), notes, cluster)
