"""The classes of the drawn scenes: 80 for the embedded data set, 200 others for pretraining.

A class is a shape with a look, and neither the hue nor the texture alone identifies it: the looks
of the 80 classes are the 80 pairs of 8 textures and 10 hues.

The 280 shapes (`weights/shapes.png`, names in `shapes.txt`) are glyphs of DejaVu Sans Bold and
drawn curves, chosen from 960 so that no two are alike; the first 80 belong to the benchmark. They
are stored as pixels, so that another version of the font cannot change an annotation.
"""

import colorsys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from PIL import Image

from la.rng import stream

TEXTURES = ("stripes", "checker", "dots", "rings", "waves", "gradient", "grid", "blotches")
HUES = ("red", "orange", "lime", "green", "mint", "cyan", "azure", "indigo", "violet", "pink")
SPANS = {"benchmark": slice(0, 80), "pretraining": slice(80, 280)}  # of the shapes
SHEET_COLUMNS = 20  # shapes in a row of shapes.png
TURN = 2 * np.pi  # radians

Universe = Literal["benchmark", "pretraining"]


@dataclass(frozen=True)
class Look:
    """A texture in two hues in [0, 1), its relative frequency and its orientation in radians."""

    texture: str
    hues: tuple[float, float]
    frequency: float
    angle: float

    def colours(self, rng: np.random.Generator) -> np.ndarray:
        """(2, 3) RGB of one instance, jittered; the second colour is darker."""
        shift_of_both = rng.normal(0, 0.025)
        shift_of_second = rng.normal(0, 0.02)
        hues = np.array(self.hues) + shift_of_both + (0, shift_of_second)
        brighter_first = np.sort(rng.uniform(0.55, 1, 2))[::-1]
        values = brighter_first * (1, 0.7)
        saturations = rng.uniform(0.5, 1, 2)
        hsv = zip(hues % 1, saturations, values, strict=True)
        return 255 * np.array([colorsys.hsv_to_rgb(*colour) for colour in hsv])

    def second_share(
        self,
        points: np.ndarray,
        angle: float,
        shift: np.ndarray,
    ) -> np.ndarray:
        """(P,) share of the second colour in [0, 1] at points (2, P), in periods of the texture.

        `angle` and `shift` (2,) place the texture; an instance jitters them.
        """
        x, y = rotation(-angle) @ points + shift[:, None]
        match self.texture:
            case "stripes":
                return x % 1 < 0.5
            case "checker":
                return (np.floor(x * 1.6) + np.floor(y * 1.6)) % 2
            case "dots":
                return (x % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2 < 0.09
            case "rings":
                return np.hypot(x, y) % 1 < 0.5
            case "waves":
                return (x + 0.5 * np.abs(y % 1 - 0.5)) % 0.8 < 0.4
            case "gradient":
                return 0.5 + 0.5 * np.sin(0.3 * TURN * x)
            case "grid":
                return (x % 1 < 0.22) | (y % 1 < 0.22)
            case _:  # blotches
                across = np.sin(0.7 * TURN * x + 2 * np.sin(4 * y))
                down = np.sin(0.7 * TURN * y + 2 * np.sin(3.7 * x))
                return across + down > 0.2


@dataclass(frozen=True)
class Kind:
    """A class: its name, its shape (R, R) bool over the square [-1, 1]^2, and its look."""

    name: str
    shape: np.ndarray
    look: Look


@cache
def kinds(universe: Universe) -> tuple[Kind, ...]:
    """The 80 classes of the `benchmark` universe, or the 200 of `pretraining`."""
    span = SPANS[universe]
    names = (files("la") / "weights" / "shapes.txt").read_text().splitlines()[span]
    shapes = _shapes()[span]
    rng = stream(0, f"looks of {universe}")
    looks: list[Look] = []
    while len(looks) < len(names):
        # A round uses each pair of texture and hue once, in a new order.
        for pair in rng.permutation(len(TEXTURES) * len(HUES)):
            looks.append(_look(rng, int(pair)))
    classes = []
    for name, shape, look in zip(names, shapes, looks[: len(names)], strict=True):
        hue = HUES[round(look.hues[0] * len(HUES))]
        classes.append(Kind(f"{name}, {hue} {look.texture}", shape, look))
    return tuple(classes)


def random_look(rng: np.random.Generator) -> Look:
    """A look of any pair of texture and hue."""
    return _look(rng, int(rng.integers(len(TEXTURES) * len(HUES))))


def rotation(angle: float) -> np.ndarray:
    """(2, 2) matrix that rotates (x, y) by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _shapes() -> np.ndarray:
    """(280, R, R) bool, the shapes of the sheet row by row."""
    with Image.open(str(files("la") / "weights" / "shapes.png")) as sheet:
        pixels = np.asarray(sheet.convert("1"))
    side = pixels.shape[1] // SHEET_COLUMNS
    grid = pixels.reshape(-1, side, SHEET_COLUMNS, side)
    return grid.swapaxes(1, 2).reshape(-1, side, side)


def _look(rng: np.random.Generator, pair: int) -> Look:
    """The look of one of the 80 pairs of hue and texture; the rest is random."""
    hue, texture = divmod(pair, len(TEXTURES))
    first = hue / len(HUES)
    second = (first + rng.choice([0, 0.33, 0.5, 0.67])) % 1
    angle = rng.uniform(0, np.pi)
    frequency = rng.choice([0.8, 1.3])
    return Look(TEXTURES[texture], (first, second), frequency, angle)
