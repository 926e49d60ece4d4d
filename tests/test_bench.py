"""The instruments of the benchmarks: figures come out as they went in, and a peak of memory is the peak."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from recache.nodes.pictures import drawing
from tests.bench import frontier, shapes, sound, usage
from tests.bench.figures import Figure, publish, table
from tests.bench.memory import peak
from tests.tiny.families import FAMILIES

FIGURES = [
    Figure("speedup", 4.56789, "1", {"mechanism": "taylor", "k": 9}),
    Figure("taken", 25165824, "bytes", {"mechanism": "taylor", "k": 9}),
    Figure("speedup", None, "1", {"mechanism": "reuse", "k": 13}),
]
MEGABYTE = 1 << 20


def test_the_table_has_a_row_for_each_cell_and_a_column_for_each_figure():
    heading, _, taylor, reuse = table(FIGURES).splitlines()
    assert heading.split() == ["mechanism", "k", "speedup", "taken", "[bytes]"]
    assert taylor.split() == ["taylor", "9", "4.568", "25,165,824"]
    assert reuse.split() == ["reuse", "13", "-"]


def test_figures_of_other_cells_have_a_table_of_their_own():
    assert len(table([*FIGURES, Figure("feature", 1, "bytes", {"model": "FLUX.1"})]).split("\n\n")) == 2


def test_json_holds_the_figures_unrounded(tmp_path, capsys):
    publish(iter(FIGURES), tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text())["figures"][0] == {
        "name": "speedup", "value": 4.56789, "unit": "1", "cell": {"mechanism": "taylor", "k": 9}}
    assert table(FIGURES) in capsys.readouterr().out


def test_what_came_before_an_interruption_is_published(tmp_path):
    def measured():
        yield FIGURES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(measured(), tmp_path / "figures.json")
    assert len(json.loads((tmp_path / "figures.json").read_text())["figures"]) == 1


def test_the_frontier_has_a_line_for_every_way_worst_first(tmp_path):
    cells = [
        ({"mechanism": "taylor", "order": 1, "method": "learned"}, 0.001),
        ({"mechanism": "reuse", "order": 1, "schedule": "uniform"}, 0.004),
        ({"mechanism": "EasyCache", "schedule": "threshold"}, 0.008),
        ({"mechanism": "none", "schedule": "fewer steps"}, 0.002),
    ]
    figures = [
        {"name": name, "value": value * share * 7 / k, "cell": {"model": model, "k": k, "n": 50, **cell}}
        for cell, value in cells for name, share in (("st_lpips", 1.0), ("st_lpips_ci95", 1.5), ("psnr", 1e4))
        for k in (13, 7) for model in ("flux", "wan")]
    found = frontier.lines(figures, "flux", 50)
    assert list(found) == ["EasyCache", "reuse, uniform", "fewer steps", "taylor 1, learned"]
    assert found["fewer steps"] == {7: (0.002, pytest.approx(0.003)), 13: (pytest.approx(0.002 * 7 / 13), pytest.approx(
        0.003 * 7 / 13))}
    assert frontier.lines(figures, "flux", 25) == {}
    frontier.draw(found, "a title", tmp_path / "frontier.png")
    assert Image.open(tmp_path / "frontier.png").size == (900, 500)


def test_the_frontier_draws_few_steps_too():
    cells = {"learned": ("learned", "l2p 1"), "MeanCache": ("default", "meancache 1"),
             "default": ("default", "taylor 1"),
             "fewer steps": ("fewer steps", "euler"), "fewer steps, the best other sampler": ("fewer steps", "deis")}
    figures = [
        {"name": name, "value": value, "cell": {
            "model": "flux_8_steps", "k": 4, "n": 8, "sampler": "euler", "schedule": schedule, "mechanism": mechanism}}
        for value, (schedule, mechanism) in enumerate(cells.values(), 1) for name in ("st_lpips", "ci95", "more")]
    found = frontier.lines(figures, "flux_8_steps", 8)
    assert found == {name: {4: (value, value)} for value, name in enumerate(cells, 1)}
    assert list(found) == list(cells)[::-1]


def test_shapes_of_schedules():
    assert shapes.shape((0, 1, 2, 9), 10) == {
        "half_by": 0.1, "longest_gap": pytest.approx(2.4), "first_gap": 3, "computes_last": 1.0}
    assert shapes.shape((0, 5), 10) == {"half_by": 0.0, "longest_gap": 0.8, "first_gap": 1, "computes_last": 0.0}


def test_the_frontier_has_the_colours_of_the_packs_pictures():
    shared = {frontier.BACKGROUND: drawing.BACKGROUND, frontier.TEXT: drawing.TEXT, frontier.FAINT: drawing.FAINT,
              frontier.GRID: drawing.GRID, frontier.COMPUTED: drawing.COMPUTED,
              frontier.COLOURS["fewer steps"]: drawing.FEWER_STEPS}
    assert {colour: "#{:02x}{:02x}{:02x}".format(*drawn) for colour, drawn in shared.items()} == {
        colour: colour for colour in shared}
    assert len(set(frontier.COLOURS.values())) == len(frontier.COLOURS)


def test_the_peak_counts_what_is_alive_at_once():
    before = [torch.empty(5 * MEGABYTE, dtype=torch.uint8)]

    def run():
        first = torch.empty(MEGABYTE, dtype=torch.uint8)
        del first
        before.clear()  # was there before: its end is not a lower floor
        both = [torch.empty(2 * MEGABYTE, dtype=torch.uint8) for _ in range(2)]
        both.pop()
        return torch.empty(MEGABYTE, dtype=torch.uint8)

    assert peak(run) == pytest.approx(4 * MEGABYTE, rel=0.01)


def test_the_usage_of_the_hosts_templates_is_told_by_their_files():
    """Every template that samples has a file of weights, and nine tenths of their runs are of tested families."""
    assert usage.family_of("wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors") is FAMILIES["wan22_14b"]
    assert usage.family_of("sub/Hunyuanvideo1.5_1080p_sr_distilled.safetensors") is FAMILIES["hunyuan_video15_sr"]
    assert usage.family_of("unknown.safetensors") is None
    every = usage.templates()
    assert len(every) > 200 and all(template.weights for template in every if usage.shown(template))
    assert len({template.name for template in every}) == len(every)
    assert all(share > 0.9 for share in usage.shares().values())


def test_sound_is_compared_stream_by_stream():
    picture, louder = torch.ones(1, 2, 3), torch.full((1, 4), 3.0)
    (error, level), (other, higher) = sound.compared([picture, torch.ones(1, 4)], [picture, louder])
    assert (error, level) == (0.0, 1.0) and (other, higher) == (2.0, 3.0)
