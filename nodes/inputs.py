"""Inputs that several nodes share: the policy, and how evaluations are cached."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .. import caching
from .library import folders, resolve

Policy = io.Custom("RECACHE_POLICY")


def policy_inputs(*more: str, tooltip: str = "") -> list[io.Input]:
    """The policy by name, with `more` options and a `tooltip` for them, and the trained one that is used instead."""
    return [
        io.Combo.Input(
            "policy", options=["auto", "uniform", *more, *folders.policy_names()], default="auto",
            tooltip="Which evaluations are computed. auto: what a policy that fits the model learned; without one, a "
                    "rule that suits the number of steps. uniform: that rule, whatever policies there are. "
                    f"{tooltip}Others: the policies in models/recache and the pack's own."),
        Policy.Input(
            "trained", optional=True,
            tooltip="A policy straight from ReCache Train; it is used instead of the one that is picked."),
    ]


class PolicyNode(io.ComfyNode):
    """A node with `policy_inputs`: any name is valid, and a policy file that changes makes the node run again."""

    @classmethod
    def validate_inputs(cls, policy: str | None = None) -> bool | str:
        """Any name is valid (see resolve.resolve_policy). None: the name comes from another node."""
        return policy is None or isinstance(policy, str) or "policy has to be a name; choose one from the list."

    @classmethod
    def fingerprint_inputs(cls, policy: str | None = "auto", **others) -> str:
        return resolve.cache_token(policy)


def hidden_input(cls: type[io.ComfyNode], name: str) -> Any:
    """A hidden input of the node that is executed, such as "unique_id"; None where another pack's code executes it."""
    return getattr(cls.hidden, name, None)


def caching_inputs() -> list[io.Input]:
    """Mechanism, order and cache point."""
    return [
        io.Combo.Input(
            "mechanism", options=[caching.AUTO, *caching.MECHANISMS], default=caching.AUTO, optional=True,
            advanced=True,
            tooltip="How a skipped evaluation is reconstructed. auto: as the policy was trained, else what is best for "
                    "the number of steps. taylor and hermite continue the trend of the last computed ones, reuse "
                    "repeats the last, residual repeats the change it made to its input, meancache corrects the last "
                    "by the average change between computed ones, dicache runs the model's first block to judge how "
                    "far to move on (each skipped evaluation costs one block)."),
        io.Int.Input(
            "order", default=1, min=1, max=3, optional=True, advanced=True,
            tooltip="Of taylor and hermite: 1 continues a line, 2 a parabola, 3 a cubic. Higher needs more memory and "
                    "closer computed evaluations."),
        io.Combo.Input(
            "cache_point", options=list(caching.CACHE_POINTS), default="auto", optional=True, advanced=True,
            tooltip="Where features are taken. blocks: after the last transformer block. output: the model's "
                    "prediction; works with every model and needs least memory. auto decides, and ReCache Report says "
                    "why."),
    ]
