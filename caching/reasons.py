"""Why a run was not what the artist may expect, as codes; nodes/ and web/ word them in the artist's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Every code with the fields that its sentence names.
CODES: dict[str, tuple[str, ...]] = {
    # the run can't be planned
    "sampler_adaptive": (),
    "sampler_unplannable": ("error",),
    "sampler_needs_model": ("name",),  # of the guider's or the model's attribute
    "sampler_slow": ("seconds",),
    "sampler_needs_run": (),  # a dry run that must leave the random number generators alone can't tell
    "schedule_refused": ("message",),
    "host_moved": ("points",),  # see host_check
    # which cache point, and why
    "windows_move": (),
    "all_computed": (),
    "chosen_on_node": (),
    "compiled": (),
    "sampler_adds_noise": (),
    "output_preferred": ("mechanism",),
    "output_recorded": (),
    "blocks_possible": (),
    "no_blocks": (),
    "blocks_not_one_stream": (),
    "tokens_changed_between_blocks": (),
    "blocks_return_other": (),
    "blocks_other_batch": (),
    "blocks_failed": ("error",),
    "blocks_differ": (),
    "tokens_patched": (),
    "controlnet": (),
    "multigpu": (),
    "cached_too_expensive": ("percent",),
    "dicache_needs_blocks": ("because",),
    # caching ended early
    "left_plan": ("index",),
    "out_of_memory_caching": (),
    "out_of_memory_forecasting": (),
    "not_finite": ("index",),
    # one evaluation was computed though it was to be cached
    "second_model": (),
    "other_input": (),
    "no_history": (),
    "tokens_changed": (),
    "other_path": (),
    "another_node_asked": (),
    "another_node_skipped": (),
    # the plan is another one than the budget's schedule
    "plan_moved": (),
    "parts_added": ("count",),
    # ReCache Train and Frontier can't go on
    "not_as_planned": (),
    "changes_mid_run": (),
    "nothing_cached": ("budget",),
    # samplers that work on one latent in turn
    "next_sampler_unknown": (),
    # what they say beside their result
    "fewer_steps_closer": ("budgets",),
    "budget_same": ("budget", "computed", "evaluations"),
    "recomputed": ("count", "gigabytes"),
    "over_limit": ("taken", "limit"),
    "checkpoint_damaged": ("file",),
    "checkpoint_foreign": (),
    "checkpoint_unwritable": ("folder", "error"),
    "cluster_used": ("workers",),
    "cluster_no_ray": (),
    "cluster_foreign": ("address",),
    "cluster_unreachable": ("address",),
    "cluster_failed": ("error",),
    "cluster_lost": ("error",),
    "lpips_missing": ("because",),
    "lpips_no_package": (),
    "lpips_no_alexnet": ("file", "folder"),
    "lpips_damaged": ("file",),
    # beside simply running fewer steps
    "as_fewer_steps": ("steps", "computed"),
    "raised": ("steps", "computed", "instead"),
    "may_lose": ("steps", "computed"),
    "worse_than_fewer_steps": ("steps", "computed", "mechanism"),
    # the policy
    "policy_missing": ("policy", "origin", "instead"),  # origin: "" or in brackets; instead: one of the next two
    "instead_uniform": (),
    "instead_policy": ("name",),
    "policy_fitted": ("name",),
    "mechanism_replaced": ("mechanism", "instead"),
    "policy_carried": ("name", "differs"),  # differs: a list of what was otherwise when it was fitted
    "differs_model": ("family",),
    "differs_mechanism": ("mechanism",),
    "differs_order": ("mechanism", "order"),
    "differs_sampler": ("sampler",),
    "differs_evaluations": ("n",),
    "differs_times": (),
    "differs_scheduler": ("scheduler",),
    "differs_shift": ("scheduler", "shift"),
    "differs_cfg": ("cfg",),
    "differs_size": ("size",),
}


@dataclass(frozen=True)
class Reason:
    """Why a run was not what the artist may expect: a code, and the values that its sentence names.

    Attributes:
        code: one of `CODES`.
        fields: of str, int, float, Reason or a list of Reasons. `index` is an evaluation, 0-based; words count from 1.

    Raises:
        ValueError: an unknown code, or other fields than its own.
    """

    code: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in CODES or set(self.fields) != set(CODES[self.code]):
            raise ValueError(f"no reason {self.code!r} with the fields {sorted(self.fields)}")

    def __str__(self) -> str:
        """For the log: the code and its values."""
        values = ", ".join(f"{name} {value}" for name, value in self.fields.items())
        return f"{self.code} ({values})" if values else self.code

    def as_json(self) -> dict[str, Any]:
        """{"code", "fields"}, ready for JSON."""
        return {"code": self.code, "fields": {name: _as_json(value) for name, value in self.fields.items()}}


def _as_json(value: Any) -> Any:
    if isinstance(value, Reason):
        return value.as_json()
    return list(map(_as_json, value)) if isinstance(value, list) else value
