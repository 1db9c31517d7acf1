"""Drawn scenes: images of labelled objects, with exact masks.

A scene holds one to five labelled objects that occlude one another. Unlabelled decoys rule out
shortcuts: the shape of one class in the look of another, a shape in random colours, a bar.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from la.data.embedded.classes import Kind, Look, kinds, random_look, rotation
from la.rng import stream

SIZE = 96  # pixels of an image's side
SMALLEST = 34  # an object with fewer visible pixels stays unlabelled


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8 and its labelled objects: class index and visible pixels (H, W)."""

    image: np.ndarray
    instances: tuple[tuple[int, np.ndarray], ...]

    def class_map(self) -> np.ndarray:
        """(H, W) int64: 0 background, class index + 1 inside the objects."""
        painted = np.zeros((SIZE, SIZE), np.int64)
        for class_index, mask in self.instances:
            painted[mask] = class_index + 1
        return painted


@dataclass(frozen=True)
class _Thing:
    """An object or a decoy, before it is painted.

    `pose` (2, 2) maps the shape's square [-1, 1]^2 to pixels around the centre of the thing.
    """

    shape: np.ndarray
    look: Look
    pose: np.ndarray


def draw_scene(world: tuple[Kind, ...], rng: np.random.Generator) -> Scene:
    """One image of the classes of `world`, painted object over object."""
    n_objects = rng.choice(5, p=(0.1, 0.2, 0.3, 0.25, 0.15)) + 1
    classes = rng.integers(len(world), size=n_objects)
    if rng.random() < 0.25:
        classes[-1] = classes[0]  # two instances of one class
    things = []
    for class_index in classes:
        kind = world[class_index]
        things.append(_Thing(kind.shape, kind.look, _draw_pose(rng)))
    things += _draw_decoys(world, classes, rng)

    image = _draw_background(rng)
    owner = np.full((SIZE, SIZE), -1)  # index in `things` of what is visible; -1 background
    for number in rng.permutation(len(things)):
        covered = _paint(rng, image, things[number])
        owner[covered] = number
    exposure = rng.uniform(0.8, 1.15)
    noise = rng.uniform(2, 9) * rng.standard_normal(image.shape, np.float32)
    image = image * exposure + noise

    visible = []
    for number, class_index in enumerate(classes):
        mask = owner == number
        if mask.sum() >= SMALLEST:
            visible.append((int(class_index), mask))
    pixels = image.round().clip(0, 255).astype(np.uint8)
    return Scene(pixels, tuple(visible))


def pretraining_scenes(n_images: int, *, seed: int) -> Iterator[Scene]:
    """Scenes of the 200 other classes, for the tiny backbone; never a class of the benchmark."""
    for index in range(n_images):
        rng = stream(seed, "pretraining scene", index)
        yield draw_scene(kinds("pretraining"), rng)


def _draw_decoys(
    world: tuple[Kind, ...],
    classes: np.ndarray,
    rng: np.random.Generator,
) -> list[_Thing]:
    """Things without a label; `classes` are the indices of the labelled ones."""
    decoys = []
    if rng.random() < 0.35:
        # The shape of one class in the look of another, half of the time one of this scene.
        in_scene = rng.random() < 0.5
        other = rng.choice(classes) if in_scene else rng.integers(len(world))
        shape = world[rng.integers(len(world))].shape
        look = world[other].look
        decoys.append(_Thing(shape, look, _draw_pose(rng)))
    if rng.random() < 0.35:
        shape = world[rng.integers(len(world))].shape
        look = random_look(rng)
        decoys.append(_Thing(shape, look, _draw_pose(rng)))
    if rng.random() < 0.4:
        half_length = rng.uniform(20, 60)
        half_width = rng.uniform(1.5, 3)
        hues = rng.random(), rng.random()
        pose = rotation(rng.uniform(0, np.pi)) @ np.diag([half_length, half_width])
        bar = np.ones((2, 2), bool)
        decoys.append(_Thing(bar, Look("gradient", hues, 0.2, 0.0), pose))
    return decoys


def _draw_pose(rng: np.random.Generator) -> np.ndarray:
    """(2, 2) from a shape's square to pixels: size, rotation, aspect, shear and mirror."""
    log_size = rng.uniform(np.log(0.24), np.log(0.58))
    half = SIZE / 2 * np.exp(log_size)
    angle = rng.uniform(-0.6, 0.6)
    upside_down = rng.random() < 0.15
    turn = rotation(angle + np.pi * upside_down)
    aspect = np.exp(rng.normal(0, 0.06))
    shear = rng.normal(0, 0.12)
    stretch = np.array([[aspect, shear], [0, 1 / aspect]])
    mirror = -1 if rng.random() < 0.3 else 1
    return half * turn @ stretch @ np.diag([mirror, 1])


def _draw_background(rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3): three octaves of smooth noise on a random tint, sometimes a faint texture."""
    brightness = rng.uniform(50, 200)
    tint = brightness + rng.normal(0, 22, 3)
    image = np.zeros((3, SIZE, SIZE)) + tint[:, None, None]
    amplitude = rng.uniform(10, 26)
    for octave, n_cells in enumerate((3, 6, 12)):
        grid = rng.normal(size=(4, n_cells + 3, n_cells + 3))
        lightness, hue = grid[:1], grid[1:]
        stretch = _cubic_weights(n_cells)
        smooth = stretch @ (lightness + 0.6 * hue) @ stretch.T  # light varies more than hue
        image += amplitude * 0.5**octave * smooth
    if rng.random() < 0.35:
        look = random_look(rng)
        points = np.indices((SIZE, SIZE)).reshape(2, -1) / SIZE
        periods = rng.uniform(2, 6)
        shift = rng.uniform(0, 1, 2)
        share = look.second_share(points * periods, look.angle, shift)
        contrast = rng.normal(0, 22, 3)[:, None, None]
        image += (share.reshape(SIZE, SIZE) - 0.5) * contrast
    return image.transpose(1, 2, 0).copy()


@cache
def _cubic_weights(n_cells: int) -> np.ndarray:
    """(SIZE, n_cells + 3) Catmull-Rom weights that interpolate a row of values over the image."""
    places = np.linspace(0, n_cells, SIZE)
    d = np.abs(places[:, None] - np.arange(-1, n_cells + 2))
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((2.5 - 0.5 * d) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def _paint(
    rng: np.random.Generator,
    image: np.ndarray,
    thing: _Thing,
) -> np.ndarray:
    """Paint a thing at a random place into `image` (H, W, 3), in place and anti-aliased.

    Returns:
        (H, W) bool: the pixels that it covers by at least a half.
    """
    centre = rng.uniform(0.12, 0.88, 2) * SIZE
    reach = np.abs(thing.pose).sum(1)  # half the sides of the upright box around it
    x0, y0 = np.floor(centre - reach).clip(0, SIZE).astype(int)
    x1, y1 = np.ceil(centre + reach).clip(0, SIZE).astype(int)
    # Two samples per pixel and axis, at a quarter and three quarters of the pixel.
    x = np.arange(2 * x0, 2 * x1) / 2 + 0.25 - centre[0]
    y = np.arange(2 * y0, 2 * y1) / 2 + 0.25 - centre[1]
    to_shape = np.linalg.inv(thing.pose)
    inside = _lookup(thing.shape, to_shape, x, y)  # (2h, 2w)
    rows, columns = inside.nonzero()
    points = to_shape @ np.stack([x[columns], y[rows]])  # (2, P) in the shape's square
    first, second = _shade(rng, thing.look, points)

    samples = np.zeros((3, *inside.shape))
    samples[0, rows, columns] = 1
    samples[1, rows, columns] = first
    samples[2, rows, columns] = second
    row_pairs = samples[:, ::2] + samples[:, 1::2]
    cover, *weights = (row_pairs[..., ::2] + row_pairs[..., 1::2]) / 4  # (h, w) each
    colour = np.stack(weights, -1) @ thing.look.colours(rng)
    window = image[y0:y1, x0:x1]
    uncovered = 1 - cover[..., None]
    window[:] = window * uncovered + colour

    covered = np.zeros((SIZE, SIZE), bool)
    covered[y0:y1, x0:x1] = cover >= 0.5
    return covered


def _lookup(
    shape: np.ndarray,
    to_shape: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> np.ndarray:
    """(len(y), len(x)) bool: whether the sample at (x, y) lies on a pixel of the shape."""
    side = len(shape)
    cells = []  # column and row in the shape; -1 and `side` are outside
    for along_x, along_y in to_shape:
        place = along_x * x + along_y * y[:, None] + 1  # in [0, 2]
        cell = np.floor(place * (side / 2))
        cells.append(cell.clip(-1, side).astype(int))
    column, row = cells
    return np.pad(shape, 1)[row + 1, column + 1]


def _shade(
    rng: np.random.Generator,
    look: Look,
    points: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Light (P,) of the first and of the second colour at points (2, P) of the shape's square.

    Texture and light have the jitter of an instance; the light falls off in a random direction.
    """
    periods = 1.9 * look.frequency * np.exp(rng.normal(0, 0.15))
    angle = look.angle + rng.normal(0, 0.1)
    shift = rng.uniform(0, 1, 2)
    share = look.second_share(points * periods, angle, shift)
    steepness = rng.uniform(0, 0.25)
    tilt = steepness * rotation(rng.uniform(0, 2 * np.pi))[0]
    light = rng.uniform(0.85, 1.15) * (1 + tilt @ points)
    return light * (1 - share), light * share
