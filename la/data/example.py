"""One drawn episode to begin with, of classes that fold 0 keeps for the test; made in a moment."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from la.data.cutouts import Cutout
from la.data.photos import Prompt
from la.data.scenes import draw_scene, kinds
from la.rng import stream
from la.types import Box, Point

LEAST = 300  # visible pixels of each class, so that every object can be recognised


@dataclass(frozen=True)
class ExampleEpisode:
    """What `Predictor.support` takes, and a query with its truth."""

    examples: tuple[tuple[Image.Image, dict[str, list[Prompt]]], ...]
    query: Image.Image
    target: np.ndarray  # (H, W) rows: 0 background, n the n-th class
    class_names: tuple[str, ...]


def example_episode(seed: int = 0) -> ExampleEpisode:
    """Two supports and a query that all show three classes; a mask, a box and a point are mixed."""
    world = kinds("benchmark")[0:12:4]
    scenes, number = [], 0
    while len(scenes) < 3:
        scene = draw_scene(world, stream(seed, "example episode", number))
        number += 1
        if {c for c, mask in scene.instances if mask.sum() > LEAST} == set(range(len(world))):
            scenes.append(scene)
    names = tuple(kind.name for kind in world)
    examples = []
    for first, scene in enumerate(scenes[:2]):
        prompts: dict[str, list[Prompt]] = {name: [] for name in names}
        for c, mask in scene.instances:
            make = (_mask, _box, _point)[(c + first) % 3]
            prompts[names[c]].append(make(mask))
        examples.append((Image.fromarray(scene.image), prompts))
    query = scenes[2]
    return ExampleEpisode(tuple(examples), Image.fromarray(query.image), query.class_map(), names)


def _mask(mask: np.ndarray) -> np.ndarray:
    return mask


def _box(mask: np.ndarray) -> Box:
    return Box(*Cutout.of(mask).box.tolist())


def _point(mask: np.ndarray) -> Point:
    """The object's pixel that is nearest to its middle."""
    pixels = np.argwhere(mask)
    y, x = pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()].tolist()
    return Point(x, y)
