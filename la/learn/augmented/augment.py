"""An augmented view of a photograph: objects pasted in, cropped, mirrored, recoloured.

Pasting (Ghiasi et al.: "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation", 2021) draws the class of each object uniformly. It therefore makes rare classes
more frequent, and puts more classes into one image.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from la.data.coco.index import CocoIndex

MOST_PASTED = 3  # objects in a view
PASTED_SIDE = (0.15, 0.6)  # longer side of a pasted object, of the image's shorter side
SMALLEST_PASTED = 0.005  # of its photograph's area: smaller objects are too coarse to paste
SMALLEST_CROP = 0.3  # of the image's area
STRETCH = 0.2  # log of how much wider or narrower than the image a crop may be
COLOUR = 0.4  # brightness, contrast and saturation change by at most this share
SMALLEST_LEFT = 100  # pixels: an object cut or covered below this is dropped
LITTLE_LEFT = 0.2  # of an object: with less of it left, it is ignored


@dataclass
class Instance:
    """An annotation, while its image is being augmented."""

    category_id: int
    crowd: bool
    mask: np.ndarray  # (H, W) bool
    n_pixels: int  # before anything covered it or was cut off


class Pasteboard:
    """The objects of an index that are large enough to be pasted, by class."""

    def __init__(self, index: CocoIndex) -> None:
        self.index = index
        image_areas = index.sizes.prod(1)[index.annotation_image]
        large = index.annotation_area >= SMALLEST_PASTED * image_areas
        self.annotations_of: dict[int, list[int]] = {}
        for annotation in np.flatnonzero(large & ~index.annotation_crowd).tolist():
            category = int(index.annotation_category[annotation])
            self.annotations_of.setdefault(category, []).append(annotation)

    def draw(self, rng: np.random.Generator) -> tuple[int, Image.Image]:
        """A category id, and a random object of it: RGBA, opaque where the object is."""
        index = self.index
        category = int(rng.choice(list(self.annotations_of)))
        annotation = int(rng.choice(self.annotations_of[category]))
        image = index.read_image(int(index.image_ids[index.annotation_image[annotation]]))
        alpha = Image.fromarray(index.mask(annotation))
        image.putalpha(alpha)
        return int(index.category_ids[category]), image.crop(alpha.getbbox())


def augmented(
    index: CocoIndex,
    image_id: int,
    board: Pasteboard,
    rng: np.random.Generator,
) -> tuple[Image.Image, list[Instance]]:
    """A view of a photograph, and the instances that are visible in it."""
    image, instances = unchanged(index, image_id)
    if board.annotations_of:
        for _ in range(int(rng.integers(MOST_PASTED + 1))):
            paste(image, instances, board, rng)
    image = crop(image, instances, rng)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for instance in instances:
            instance.mask = instance.mask[:, ::-1]
    return recolour(image, rng), visible(instances)


def unchanged(index: CocoIndex, image_id: int) -> tuple[Image.Image, list[Instance]]:
    """A photograph as it is, and its instances."""
    instances = []
    for annotation in index.annotations_of(image_id):
        mask = index.mask(annotation)
        instance = Instance(
            category_id=int(index.category_ids[index.annotation_category[annotation]]),
            crowd=bool(index.annotation_crowd[annotation]),
            mask=mask,
            n_pixels=int(mask.sum()),
        )
        instances.append(instance)
    return index.read_image(image_id), instances


def paste(
    image: Image.Image,
    instances: list[Instance],
    board: Pasteboard,
    rng: np.random.Generator,
) -> None:
    """Paste an object into the image, in place, in front of all instances; it becomes one."""
    category_id, cutout = board.draw(rng)
    scale = rng.uniform(*PASTED_SIDE) * min(image.size) / max(cutout.size)
    width = max(1, round(cutout.width * scale))
    height = max(1, round(cutout.height * scale))
    cutout = cutout.resize((width, height))
    if rng.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    x = int(rng.uniform(0, image.width) - width / 2)
    y = int(rng.uniform(0, image.height) - height / 2)
    image.paste(cutout, (x, y), cutout)
    opacity = Image.new("L", image.size)
    opacity.paste(cutout.getchannel("A"), (x, y))
    mask = np.array(opacity) > 127
    for other in instances:
        other.mask = other.mask & ~mask
    instances.append(Instance(category_id, False, mask, int(mask.sum())))


def crop(
    image: Image.Image,
    instances: list[Instance],
    rng: np.random.Generator,
) -> Image.Image:
    """A random part of the image; the masks are cut in place."""
    side = math.sqrt(rng.uniform(SMALLEST_CROP, 1))
    stretch = math.exp(rng.uniform(-STRETCH, STRETCH))
    width = min(image.width, max(1, round(image.width * side * stretch)))
    height = min(image.height, max(1, round(image.height * side / stretch)))
    x = int(rng.integers(image.width - width + 1))
    y = int(rng.integers(image.height - height + 1))
    for instance in instances:
        instance.mask = instance.mask[y : y + height, x : x + width]
    return image.crop((x, y, x + width, y + height))


def recolour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Random brightness, contrast and saturation."""
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(rng.uniform(1 - COLOUR, 1 + COLOUR))
    return image


def visible(instances: list[Instance]) -> list[Instance]:
    """The instances of which enough is left; a small rest becomes a crowd, which is ignored."""
    kept = []
    for instance in instances:
        n_left = int(instance.mask.sum())
        if n_left < min(SMALLEST_LEFT, instance.n_pixels):
            continue
        if n_left < LITTLE_LEFT * instance.n_pixels:
            instance.crowd = True
        kept.append(instance)
    return kept
