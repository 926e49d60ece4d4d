"""A ComfyUI node pack for tests only: text conditioning and video frames for the trained demo models."""


def comfy_entrypoint():
    from tests.host_nodes.nodes import TestNodes

    return TestNodes()
