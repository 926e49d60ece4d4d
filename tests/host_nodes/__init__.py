"""A ComfyUI node pack for tests only: text conditioning and video frames for the trained demo models."""


def comfy_entrypoint():
    from .nodes import TestNodes  # here, so that training can import .text without a host

    return TestNodes()
