"""The pack in a real ComfyUI server, installed as a user installs it."""

from __future__ import annotations

import copy

import pytest

from tests.hosting.client import PromptRejected
from tests.hosting.server import PACK, Server

PICTURE = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 2, "color": 0x3366CC}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}},
}


def test_pack_loads_without_a_warning(server):
    assert server.imported().get(PACK) is True, server.log()
    assert server.complaints() == []


def test_server_offers_the_nodes(client):
    module = f"custom_nodes.{PACK}"
    nodes = {name: info for name, info in client.object_info().items() if info["python_module"] == module}
    assert nodes
    for name, info in nodes.items():
        assert info["description"], f"{name} has no description"
        assert info["display_name"] != name


def test_stock_workflow_runs_and_repeats_from_the_cache(client, server):
    own = copy.deepcopy(PICTURE)  # that no other test has run
    own["2"]["inputs"]["filename_prefix"] = "repeated"
    own["1"]["inputs"]["width"] = 48
    first = client.run(own).check()
    assert first.executed == ["1", "2"]
    images = client.images(first, "2")
    assert [image.size for image in images] == [(48, 16)] * 2
    assert images[0].getpixel((5, 5)) == (0x33, 0x66, 0xCC)
    assert len(list(server.output.glob("repeated*.png"))) == 2

    second = client.run(own).check()
    assert set(second.cached) == {"1", "2"}
    assert second.outputs == first.outputs


def test_upload_comes_back(client):
    image = client.images(client.run(PICTURE).check())[0].rotate(90, expand=True)
    name = client.upload(image, "turned.png")
    result = client.run(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": name}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
    )
    assert client.images(result.check())[0].size == (16, 32)


def test_bad_workflow_is_rejected_with_the_reason(client):
    inputs = {"width": -5, "height": 16, "batch_size": 1, "color": 0}
    bad = {**PICTURE, "1": {"class_type": "EmptyImage", "inputs": inputs}}
    with pytest.raises(PromptRejected, match="width"):
        client.queue(bad)


def test_failure_names_the_node_and_the_next_run_works(client, server):
    (server.models / "diffusion_models" / "broken.safetensors").write_bytes(b"not a model")
    broken = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "broken.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "ModelSave", "inputs": {"model": ["1", 0], "filename_prefix": "never"}},
    }
    result = client.run(broken)
    assert result.status == "error"
    assert result.error["node_type"] == "UNETLoader"
    with pytest.raises(RuntimeError, match="UNETLoader"):
        result.check()
    client.run(PICTURE).check()


@pytest.mark.parametrize(
    "line",
    [
        "[WARNING] Cannot import /x/custom_nodes/recache module for custom nodes: No module named 'y'",
        "   0.1 seconds (IMPORT FAILED): /x/custom_nodes/recache",
        "/x/custom_nodes/recache/nodes/budget.py:3: DeprecationWarning: old",
        '  File "/x/custom_nodes/recache/nodes/budget.py", line 3, in <module>',
        "WARNING: ReCache could not read a policy",
    ],
)
def test_complaints_are_noticed(tmp_path, line):
    log = tmp_path / "server.log"
    log.write_text(f"\x1b[32m[INFO]\x1b[0m Starting\n{line}\n   0.1 seconds: /x/custom_nodes/other\n")
    assert Server("", tmp_path, log, None).complaints() == [line]


def test_ordinary_lines_are_no_complaint(tmp_path):
    log = tmp_path / "server.log"
    log.write_text("   0.1 seconds: /x/custom_nodes/recache\nWARNING: /home/a/.cache/recache-dev/hosts/x failed\n")
    server = Server("", tmp_path, log, None)
    assert server.complaints() == []
    assert server.imported() == {"recache": True}
