"""A tiny random-weight model of a family that the host supports, as files that the host's own loader opens.

The shapes come from the host's own model classes: a family names a class of the host's ``comfy.supported_models``
and the configuration of its network, with the smallest width and depth. What the host's detection cannot read from
such a file (a width of thousands that it takes for granted) is told to it while the file is made and loaded. Everything
is float32 and made from a seed. Import this module only in a process where the host was started.

In a workflow, the files load with ``UNETLoader`` (``unet_name``: the file's name, ``weight_dtype``: ``default``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file

from tests.tiny.conditioning import Extras, normal, nothing
from tests.tiny.weights import random_weights

TOKENS = 8  # of every text embedding
KINDS = ("image_model", "audio_model", "model_type", "stable_cascade_stage")  # what no file may be told to be

Shapes = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """A model family: how to make its file, load it, and run it.

    Attributes:
        name: the key in ``FAMILIES`` and the stem of the file names.
        title: what artists call it.
        config: the class of the host's ``comfy.supported_models`` that must claim the file.
        unet_config: arguments of the network.
        latent_shape: (channels, height, width), or (channels, frames, height, width) for video, of the smallest
            latent that has more than one token along every axis; several shapes for a latent of several streams.
        text_width: channels of the text embedding.
        blocks: how many blocks the network offers to ``patches_replace["dit"]``; 0: only the output can be cached.
        extras: what else its CONDITIONING carries.
        beside: shapes of tensors that its file holds beside the network's.
        told: what the metadata of its file tell of the network.
        saved: makes of the network's state dict what its files hold; as it is by default.
        experts: one part of a file name for each model that the family runs one after the other.
        weights: how the names of its files begin in the host's own workflow templates.
        batches: False where the network takes one latent at a time.
        host_since: the first ComfyUI release that runs the family here.
    """

    name: str
    title: str
    config: str
    unet_config: Mapping[str, Any]
    latent_shape: tuple
    text_width: int
    blocks: int = 0
    extras: Extras = nothing
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    saved: Callable[[Shapes], Shapes] = lambda shapes: shapes
    experts: tuple[str, ...] = ("",)
    weights: tuple[str, ...] = ()
    batches: bool = True
    host_since: str = "0.16.3"

    def write(self, folder: Path) -> list[Path]:
        """Writes ``folder/NAME.safetensors`` (one file for each expert) unless it is there, and returns the paths."""
        paths = [Path(folder) / f"{self.name}{expert}.safetensors" for expert in self.experts]
        for seed, path in enumerate(paths):
            if not path.exists():
                save_file(random_weights(self._read[0], seed), path, self._metadata)
        return paths

    def load(self, paths: list[Path]) -> list:
        """Loads the files with the host's own ``UNETLoader`` and returns its MODELs, in the same order."""
        import folder_paths
        from nodes import UNETLoader

        folders, extensions = folder_paths.folder_names_and_paths["diffusion_models"]
        here = {"diffusion_models": ([str(paths[0].parent), *folders], extensions)}
        with self._narrowed(*self._read[1:]), mock.patch.dict(folder_paths.folder_names_and_paths, here):
            return [UNETLoader().load_unet(path.name, "default")[0] for path in paths]

    def conditioning(self, seed: int = 0, batch: int = 1) -> tuple[list, list]:
        """The positive and negative CONDITIONING of ``TOKENS`` tokens each; another seed is another prompt."""
        return self._prompt(2 * seed, batch), self._prompt(2 * seed + 1, batch)

    def latent(self, batch: int = 1, seed: int = 0) -> dict[str, Any]:
        """A LATENT of normal numbers, (batch, *latent_shape)."""
        generator = torch.Generator().manual_seed(seed)
        return self._streams(lambda shape: normal(generator, batch, *shape))

    def empty(self, batch: int = 1) -> dict[str, Any]:
        """A LATENT of zeros, (batch, *latent_shape)."""
        return self._streams(lambda shape: torch.zeros(batch, *shape))

    def _streams(self, make: Callable[[tuple[int, ...]], torch.Tensor]) -> dict[str, Any]:
        if not isinstance(self.latent_shape[0], tuple):
            return {"samples": make(self.latent_shape)}
        from comfy.nested_tensor import NestedTensor

        return {"samples": NestedTensor(list(map(make, self.latent_shape)))}

    def _prompt(self, seed: int, batch: int) -> list:
        generator = torch.Generator().manual_seed(seed)
        text = normal(generator, batch, TOKENS, self.text_width)
        # The host's text encoders always set a pooled output, None for those that have none.
        return [[text, {"pooled_output": None, **self.extras(generator, batch, self.latent_shape)}]]

    @property
    def _metadata(self) -> dict[str, str] | None:
        return {"config": json.dumps({"transformer": dict(self.told)})} if self.told else None

    @cached_property
    def _read(self) -> tuple[Shapes, dict[str, Any], dict[str, Any]]:
        """What the file holds; what its detection must be told: the network's arguments, and values that it compares.

        Detection reads more from a file than `unet_config` says, and the network is built from both.
        """
        import comfy.supported_models
        from comfy.model_detection import detect_unet_config

        read: dict[str, Any] = {}
        for _ in range(2):
            shapes = self.saved(self._network({**read, **self.unet_config}))
            shapes |= {name: torch.empty(shape, device="meta") for name, shape in self.beside.items()}
            read = detect_unet_config(shapes, "", metadata=self._metadata) or {}
        compared = getattr(comfy.supported_models, self.config).unet_config
        return (shapes, {name: value for name, value in self.unet_config.items() if read.get(name) != value},
                {name: read[name] for name, value in compared.items()
                 if name not in KINDS and name in read and read[name] != value})

    def _network(self, unet_config: dict[str, Any]) -> Shapes:
        """The state dict of the host's own network of this configuration, on the meta device."""
        import comfy.supported_models

        # some count by tensors, which hold no numbers on that device
        with self._narrowed(self.unet_config, {}), mock.patch.object(torch.Tensor, "item", return_value=0):
            config = getattr(comfy.supported_models, self.config)(unet_config)
            config.set_inference_dtype(torch.float32, None)
            beside = {name: torch.zeros(shape) for name, shape in self.beside.items()}
            return config.get_model(beside, device="meta").diffusion_model.state_dict()

    @contextmanager
    def _narrowed(self, arguments: Mapping[str, Any], compared: Mapping[str, Any]) -> Iterator[None]:
        import comfy.supported_models

        config = getattr(comfy.supported_models, self.config)
        with (
            mock.patch.object(config, "unet_extra_config", {**config.unet_extra_config, **arguments}),
            mock.patch.object(config, "unet_config", {**config.unet_config, **compared}),
        ):
            yield
