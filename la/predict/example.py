"""One drawn episode to begin with, of classes that fold 0 keeps for the test; made in a moment."""

from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from PIL import Image

from la.data.embedded.classes import kinds
from la.data.embedded.scenes import draw_scene
from la.data.prompts import Cutout
from la.predict.photos import Prompt
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
    names, examples = tuple(kind.name for kind in world), []
    drawn = (draw_scene(world, stream(seed, "example episode", i)) for i in count())
    whole = (s for s in drawn if {c for c, m in s.instances if m.sum() > LEAST} == {0, 1, 2})
    *supports, query = islice(whole, 3)
    for first, scene in enumerate(supports):
        prompts: dict[str, list[Prompt]] = {name: [] for name in names}
        for c, mask in scene.instances:
            make = (np.array, _box, _point)[(c + first) % 3]
            prompts[names[c]].append(make(mask))
        examples.append((Image.fromarray(scene.image), prompts))
    return ExampleEpisode(tuple(examples), Image.fromarray(query.image), query.class_map(), names)


def _box(mask: np.ndarray) -> Box:
    return Box(*Cutout.of(mask).box.tolist())


def _point(mask: np.ndarray) -> Point:
    """The object's pixel that is nearest to its middle."""
    pixels = np.argwhere(mask)
    y, x = pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()].tolist()
    return Point(x + 0.5, y + 0.5)
