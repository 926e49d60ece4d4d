"""Tiny random-weight models of every family that the pack is tested on, by name."""

from __future__ import annotations

from tests.tiny.family import Family
from tests.tiny.pictures import PICTURES
from tests.tiny.sound_and_shapes import SOUND_AND_SHAPES
from tests.tiny.unets import UNETS
from tests.tiny.videos import VIDEOS

FAMILIES: dict[str, Family] = {family.name: family for family in [*PICTURES, *VIDEOS, *SOUND_AND_SHAPES, *UNETS]}

__all__ = ["FAMILIES", "Family"]
