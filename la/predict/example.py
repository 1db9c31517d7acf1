"""Example episodes: generated images of classes that fold 0 holds out, and photographs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from la.data.embedded.classes import Kind, kinds
from la.data.embedded.scenes import Scene, draw_scene
from la.data.sampling.prompts import Cutout
from la.predict.prompts.photos import Prompt
from la.rng import stream
from la.types import Box, Point

MIN_PIXELS = 300  # visible of each class, so that every object can be recognised


@dataclass(frozen=True)
class ExampleEpisode:
    """What `Predictor.support` takes, and a query with its truth."""

    examples: tuple[tuple[Image.Image, dict[str, list[Prompt]]], ...]
    query: Image.Image
    target: np.ndarray  # (H, W) rows: 0 background, n the n-th class
    class_names: tuple[str, ...]


def example_episode(seed: int = 0) -> ExampleEpisode:
    """Two supports and a query that all show three classes; a mask, a box and a point are mixed."""
    classes = kinds("benchmark")[0:12:4]
    names = tuple(kind.name for kind in classes)
    *supports, query = _scenes(classes, seed, count=3)
    to_prompts: list[Callable[[np.ndarray], Prompt]] = [np.array, _box, _point]
    examples = []
    for number, scene in enumerate(supports):
        prompts: dict[str, list[Prompt]] = {name: [] for name in names}
        for kind, mask in scene.instances:
            to_prompt = to_prompts[(kind + number) % 3]
            prompt = to_prompt(mask)
            prompts[names[kind]].append(prompt)
        examples.append((Image.fromarray(scene.image), prompts))
    return ExampleEpisode(
        examples=tuple(examples),
        query=Image.fromarray(query.image),
        target=query.class_map(),
        class_names=names,
    )


def photo_episode() -> ExampleEpisode:
    """A flower, marked by a box and on a part by a point; another part, mirrored and darker.

    The photograph is by danielbuechele (CC BY 2.0), and part of scikit-learn. Its truth is what
    is orange in front of green and blue.
    """
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]

    flower = Image.fromarray(load_sample_images().images[1])
    part = flower.crop((120, 0, 640, 400)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    red, _, blue = np.moveaxis(np.array(part, int), -1, 0)
    box: list[Prompt] = [Box(168, 84, 447, 360)]
    point: list[Prompt] = [Point(200, 140)]
    smaller = flower.crop((100, 40, 520, 400))
    return ExampleEpisode(
        examples=((flower, {"flower": box}), (smaller, {"flower": point})),
        query=ImageEnhance.Brightness(part).enhance(0.7),
        target=(red > blue + 25).astype(int),
        class_names=("flower",),
    )


def _scenes(
    classes: tuple[Kind, ...],
    seed: int,
    count: int,
) -> list[Scene]:
    """The first scenes of a stream in which every class is well visible."""
    scenes: list[Scene] = []
    number = 0
    while len(scenes) < count:
        scene = draw_scene(classes, stream(seed, "example episode", number))
        visible = set()
        for kind, mask in scene.instances:
            if mask.sum() > MIN_PIXELS:
                visible.add(kind)
        if len(visible) == len(classes):
            scenes.append(scene)
        number += 1
    return scenes


def _box(mask: np.ndarray) -> Box:
    return Box(*Cutout.of(mask).box.tolist())


def _point(mask: np.ndarray) -> Point:
    """The centre of the object's pixel that is nearest to its middle."""
    pixels = np.argwhere(mask)
    offsets = pixels - pixels.mean(0)
    nearest = (offsets**2).sum(1).argmin()
    y, x = pixels[nearest].tolist()
    return Point(x + 0.5, y + 0.5)
