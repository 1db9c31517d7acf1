"""Drawn scenes: 80 classes for the embedded data set, 200 others to pretrain the tiny backbone.

A class is a shape with a look, and neither hue nor texture names it: the 80 looks are the 80 pairs
of 8 textures and 10 hues. Scenes hold 1-5 labelled objects that hide one another, unlabelled decoys
(the shape of one class in the look of another, or random colours) and bars.

The 280 shapes (`weights/shapes.png`, names in `shapes.txt`) are glyphs of DejaVu Sans Bold and
drawn curves, picked from 960 so that no two are alike; the first 80 are the benchmark's. They are
kept as pixels: a font's version cannot move an annotation.
"""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image

from la.rng import stream

SIZE = 96  # pixels of an image's side
SMALLEST = 34  # visible pixels below which an object stays unlabelled

FAMILIES = ("stripes", "checker", "dots", "rings", "waves", "gradient", "grid", "blotches")
HUES = ("red", "orange", "lime", "green", "mint", "cyan", "azure", "indigo", "violet", "pink")
SPANS = {"benchmark": slice(0, 80), "pretraining": slice(80, 280)}  # of the shapes


@dataclass(frozen=True)
class Look:
    """A texture: its family, two hues in [0, 1), relative frequency and orientation in radians."""

    family: str
    hues: tuple[float, float]
    frequency: float
    angle: float


@dataclass(frozen=True)
class Kind:
    """A class: its name, its shape (R, R) bool over [-1, 1]^2, and its look."""

    name: str
    shape: np.ndarray
    look: Look


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8 and its labelled objects: class index and visible pixels (H, W)."""

    image: np.ndarray
    instances: tuple[tuple[int, np.ndarray], ...]

    def class_map(self) -> np.ndarray:
        """(H, W) uint8: 0 background, class index + 1 inside the objects."""
        return sum(((c + 1) * mask for c, mask in self.instances), np.zeros((SIZE, SIZE), np.uint8))


@cache
def kinds(universe: str) -> tuple[Kind, ...]:
    """The 80 classes of the `benchmark` universe, or the 200 of `pretraining`.

    Raises:
        ValueError: there is no such universe.
    """
    if universe not in SPANS:
        raise ValueError(f"no universe {universe!r}; known: {', '.join(SPANS)}")
    with Image.open(str(files("la") / "weights" / "shapes.png")) as sheet:
        pixels = np.asarray(sheet.convert("1"))
    side = pixels.shape[1] // 20
    shapes = pixels.reshape(-1, side, 20, side).swapaxes(1, 2).reshape(-1, side, side)
    names = (files("la") / "weights" / "shapes.txt").read_text().splitlines()[SPANS[universe]]
    rng = stream(0, f"looks of {universe}")
    looks: list[Look] = []
    while len(looks) < len(names):  # whole rounds of all pairs, each in a new order
        looks += [_draw_look(rng, pair) for pair in rng.permutation(len(FAMILIES) * len(HUES))]
    return tuple(
        Kind(f"{name}, {HUES[round(look.hues[0] * 10)]} {look.family}", shape, look)
        for name, shape, look in zip(names, shapes[SPANS[universe]], looks, strict=False)
    )


def _draw_look(rng: np.random.Generator, pair: int | None = None) -> Look:
    """The look of one of the 80 pairs of hue and texture, or of any."""
    hue, family = divmod(int(rng.integers(80) if pair is None else pair), len(FAMILIES))
    second = (hue / len(HUES) + rng.choice([0, 0.33, 0.5, 0.67])) % 1
    angle = rng.uniform(0, np.pi)
    return Look(FAMILIES[family], (hue / len(HUES), second), rng.choice([0.8, 1.3]), angle)


def _texture(look: Look, xy: np.ndarray, angle: float, shift: np.ndarray) -> np.ndarray:
    """Share of the second colour in [0, 1] at P points (2, P), in periods."""
    (x, y), turn = _rotation(-angle) @ xy + shift[:, None], 2 * np.pi
    match look.family:
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
            return 0.5 + 0.5 * np.sin(0.3 * turn * x)
        case "grid":
            return (x % 1 < 0.22) | (y % 1 < 0.22)
        case _:  # blotches
            bent = np.sin(0.7 * turn * x + 2 * np.sin(4 * y))
            return bent + np.sin(0.7 * turn * y + 2 * np.sin(3.7 * x)) > 0.2


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@cache
def _cubic(cells: int) -> np.ndarray:
    """(SIZE, cells + 3) Catmull-Rom weights that stretch a row of values over the image."""
    d = np.abs(np.linspace(0, cells, SIZE)[:, None] - np.arange(-1, cells + 2))
    near, far = (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def _draw_background(rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3): three octaves of smooth noise on a random tint, sometimes a faint texture."""
    image = np.zeros((3, SIZE, SIZE)) + (rng.uniform(50, 200) + rng.normal(0, 22, 3))[:, None, None]
    size = rng.uniform(10, 26)
    for octave, cells in enumerate((3, 6, 12)):
        grid = rng.normal(size=(4, cells + 3, cells + 3))
        grid = grid[:1] + 0.6 * grid[1:]  # light varies more than hue
        image += size * 0.5**octave * (_cubic(cells) @ grid @ _cubic(cells).T)
    if rng.random() < 0.35:
        look, yx = _draw_look(rng), np.indices((SIZE, SIZE)).reshape(2, -1) / SIZE
        share = _texture(look, yx * rng.uniform(2, 6), look.angle, rng.uniform(0, 1, 2))
        image += (share.reshape(SIZE, SIZE) - 0.5) * rng.normal(0, 22, 3)[:, None, None]
    return image.transpose(1, 2, 0).copy()


def _draw_pose(rng: np.random.Generator) -> np.ndarray:
    """(2, 2) from a shape's [-1, 1]^2 to pixels: size, rotation, aspect, shear and mirror."""
    half = SIZE / 2 * np.exp(rng.uniform(np.log(0.24), np.log(0.58)))
    turn = _rotation(rng.uniform(-0.6, 0.6) + np.pi * (rng.random() < 0.15))
    aspect = np.exp(rng.normal(0, 0.06))
    stretch = np.array([[aspect, rng.normal(0, 0.12)], [0, 1 / aspect]])
    return half * turn @ stretch @ np.diag([-1 if rng.random() < 0.3 else 1, 1])


def _draw_colours(rng: np.random.Generator, look: Look) -> np.ndarray:
    """(2, 3) RGB of an instance, the second colour darker."""
    hues = np.array(look.hues) + rng.normal(0, 0.025) + (0, rng.normal(0, 0.02))
    values = np.sort(rng.uniform(0.55, 1, 2))[::-1] * (1, 0.7)
    hsv = zip(hues % 1, rng.uniform(0.5, 1, 2), values, strict=True)
    return 255 * np.array([colorsys.hsv_to_rgb(*colour) for colour in hsv])


def _paint(
    rng: np.random.Generator,
    image: np.ndarray,
    owner: np.ndarray,
    thing: int,
    shape: np.ndarray,
    look: Look,
    pose: np.ndarray,
) -> None:
    """Paint one object with the jitter of an instance, at a random place, at twice the resolution.

    A pixel of `owner` (H, W) that is at least half covered becomes `thing`.
    """
    centre, reach = rng.uniform(0.12, 0.88, 2) * SIZE, np.abs(pose).sum(1)
    x0, y0 = np.floor(centre - reach).clip(0, SIZE).astype(int)
    x1, y1 = np.ceil(centre + reach).clip(0, SIZE).astype(int)
    x = np.arange(2 * x0, 2 * x1) / 2 + 0.25 - centre[0]
    y = np.arange(2 * y0, 2 * y1)[:, None] / 2 + 0.25 - centre[1]
    column, row = (
        np.floor((a * x + b * y + 1) * (len(shape) / 2)).clip(-1, len(shape)).astype(int) + 1
        for a, b in np.linalg.inv(pose)
    )
    inside = np.pad(shape, 1)[row, column]  # (2h, 2w)
    rows, columns = inside.nonzero()
    uv = np.linalg.inv(pose) @ np.stack([x[columns], y[rows, 0]])
    periods = 1.9 * look.frequency * np.exp(rng.normal(0, 0.15))
    angle, shift = look.angle + rng.normal(0, 0.1), rng.uniform(0, 1, 2)
    share = _texture(look, uv * periods, angle, shift)
    tilt = rng.uniform(0, 0.25) * _rotation(rng.uniform(0, 2 * np.pi))[0]
    light = rng.uniform(0.85, 1.15) * (1 + tilt @ uv)
    layers = np.zeros((3, *inside.shape))  # covered, light of the first colour, of the second
    layers[:, rows, columns] = np.ones_like(light), light * (1 - share), light * share
    layers = layers[:, ::2] + layers[:, 1::2]
    cover, *lights = (layers[..., ::2] + layers[..., 1::2]) / 4  # (h, w) each
    window = slice(y0, y1), slice(x0, x1)
    colour = np.stack(lights, -1) @ _draw_colours(rng, look)
    image[window] = image[window] * (1 - cover[..., None]) + colour
    owner[window][cover >= 0.5] = thing


def draw_scene(world: tuple[Kind, ...], rng: np.random.Generator) -> Scene:
    """One image of the classes of `world`, painted object over object."""
    classes = rng.integers(len(world), size=rng.choice(5, p=(0.1, 0.2, 0.3, 0.25, 0.15)) + 1)
    if rng.random() < 0.25:
        classes[-1] = classes[0]
    things = [(world[c].shape, world[c].look, _draw_pose(rng)) for c in classes]
    if rng.random() < 0.35:  # the shape of one class in the look of another, half of them present
        other = rng.choice(classes) if rng.random() < 0.5 else rng.integers(len(world))
        shape = world[rng.integers(len(world))].shape
        things.append((shape, world[other].look, _draw_pose(rng)))
    if rng.random() < 0.35:
        things.append((world[rng.integers(len(world))].shape, _draw_look(rng), _draw_pose(rng)))
    if rng.random() < 0.4:  # a bar
        sides = np.diag([rng.uniform(20, 60), rng.uniform(1.5, 3)])
        look = Look("gradient", (rng.random(), rng.random()), 0.2, 0.0)
        things.append((np.ones((2, 2), bool), look, _rotation(rng.uniform(0, np.pi)) @ sides))
    image, owner = _draw_background(rng), np.full((SIZE, SIZE), -1)
    for thing in rng.permutation(len(things)):
        _paint(rng, image, owner, thing, *things[thing])
    image = image * rng.uniform(0.8, 1.15) + rng.uniform(2, 9) * rng.standard_normal(
        image.shape, np.float32
    )
    masks = [(int(c), owner == thing) for thing, c in enumerate(classes)]
    visible = tuple((c, mask) for c, mask in masks if mask.sum() >= SMALLEST)
    return Scene(image.round().clip(0, 255).astype(np.uint8), visible)


def pretraining_scenes(n_images: int, *, seed: int) -> Iterator[Scene]:
    """Scenes of the 200 other classes, for the tiny backbone; never a class of the benchmark."""
    for index in range(n_images):
        yield draw_scene(kinds("pretraining"), stream(seed, "pretraining scene", index))
