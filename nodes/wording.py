"""Words for reasons and reports."""

from __future__ import annotations

from ..caching import Reason, Report

SENTENCES = {
    "sampler_adaptive": "this sampler chooses its evaluations as it goes, so it runs uncached",
    "sampler_unplannable": "this sampler could not be planned ({error}), so it runs uncached",
    "sampler_needs_run": "this sampler can only be planned when it runs",
    "schedule_refused": "{message} This run was left uncached.",
    "all_computed": "the budget computes every evaluation",
    "chosen_on_node": "chosen on the node",
    "compiled": "the model is compiled as a whole",
    "sampler_adds_noise": "this sampler adds noise between evaluations, which features of blocks would carry over",
    "output_preferred": "{mechanism} is as good there as at blocks, faster, and takes less memory",
    "blocks_possible": "the model and this run allow it",
    "no_blocks": "the model offers no blocks to take features from",
    "blocks_not_one_stream": "its blocks do not work on one stream of image tokens",
    "tokens_changed_between_blocks": "something is added to the tokens between its blocks",
    "blocks_return_other": "its blocks return something other than they take",
    "blocks_other_batch": "its blocks work on another batch",
    "blocks_failed": "its blocks can't be called one by one ({error})",
    "tokens_patched": "another node patches the tokens between its blocks",
    "controlnet": "a ControlNet adds to the tokens between the blocks",
    "multigpu": "the model runs on several GPUs at once",
    "cached_too_expensive": "a cached evaluation there costs {cost:.0%} of a computed one, too much for the budget",
    "dicache_needs_blocks": "DiCache works on the model's blocks, which can't be used here ({because}); choose another "
                            "mechanism. This run was left uncached.",
    "left_plan": "The sampler or another cache node left the plan at evaluation {index}, so the rest was computed.",
    "out_of_memory": "Memory ran out while {while}, so the rest was computed; set the cache device to cpu.",
    "not_finite": "The model returned NaN or infinity at evaluation {index}, so nothing was forecast from there on.",
    "second_model": "a second model takes part, which only the cache point output can cache",
    "no_history": "there was nothing to forecast this cond from",
    "tokens_changed": "the number of tokens has changed",
    "other_path": "the model took another way through its blocks",
    "another_node_asked": "another node asked for it",
    "another_node_skipped": "Another node skipped evaluations that were to be computed; use one cache node at a time.",
}


def reason_text(reason: Reason | str) -> str:
    """The sentence of a reason."""
    if isinstance(reason, str):
        return reason
    fields = {name: reason_text(value) if isinstance(value, Reason) else value
              for name, value in reason.fields.items()}
    return SENTENCES[reason.code].format(**fields)


def summary(report: Report) -> str:
    """One line for the node."""
    if not report.planned:
        return f"all {report.evaluations} computed: {' '.join(map(reason_text, report.notes)) or 'nothing was cached.'}"
    line = f"{len(report.computed)} of {report.evaluations} computed, planned {report.planned_speedup:.1f}x"
    if report.measured_speedup is not None:
        line += f", measured {report.measured_speedup:.1f}x"
    if report.unplanned:
        line += f" ({len(report.unplanned)} unplanned)"
    return line if report.finished else line + ", stopped early"


def remarks(report: Report) -> list[str]:
    """The notes that the summary does not have."""
    return [reason_text(note) for note in report.notes] if report.planned else []
