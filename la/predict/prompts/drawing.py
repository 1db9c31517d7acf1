"""A drawing: images, classes and vector prompts, and its conversion to model input (3.1)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

from la.data.coco.entries import same_spelling
from la.data.coco.numbers import not_finite
from la.data.sampling.prompts import Drawn
from la.errors import UserError
from la.predict.prompts.strokes import rasterize
from la.predict.prompts.vector_prompts import (
    BoxPrompt,
    MaskPrompt,
    PointPrompt,
    VectorPrompt,
    mask_prompt,
)
from la.types import Box, Point
from la.wording import counted

MAX_PIXELS = 10**8  # a larger size in a file is a mistake, and its mask would fill the memory
MAX_CLASSES = 254  # label maps are bytes, and 255 marks pixels that do not count

Side = Annotated[int, Meta(ge=1, le=MAX_PIXELS)]
Name = Annotated[str, Meta(min_length=1)]
Role = Literal["support", "query"]
Annotation = Point | Box | np.ndarray  # the last one is a mask (H, W)


class DrawnImage(Struct, frozen=True):
    """An image by name (a path relative to the file that names it) and size in pixels."""

    file_name: str
    width: Side
    height: Side
    role: Role = "support"

    def __post_init__(self) -> None:
        if self.width * self.height > MAX_PIXELS:
            raise UserError(f"an image of {self.width} x {self.height} pixels is too large")


@dataclass(frozen=True)
class Drawing:
    """What a `prompts.json` file holds.

    Raises:
        UserError: a class or a prompt does not fit; the message says which and why.
    """

    images: tuple[DrawnImage, ...]
    classes: tuple[Name, ...]
    prompts: tuple[VectorPrompt, ...]

    def __post_init__(self) -> None:
        spelled = set(map(same_spelling, self.classes))
        if "" in spelled or len(spelled) < len(self.classes):
            raise UserError(f"classes need different names, not {self.classes}"[:99])
        if len(self.classes) > MAX_CLASSES:
            raise UserError(
                f"{counted(len(self.classes), 'class')}; at most {MAX_CLASSES} are possible"
            )
        for number, prompt in enumerate(self.prompts):
            _check(prompt, f"prompts[{number}]", self.images, self.classes)

    def annotations(self) -> list[dict[str, list[Annotation]]]:
        """For each image what `Predictor.support` takes: points, boxes, one mask by class."""
        return [self.annotations_on(img) for img in range(len(self.images))]

    def annotations_on(self, img: int) -> dict[str, list[Annotation]]:
        """The annotations of one image, in the order of the classes."""
        of_class = defaultdict(list)
        for prompt in self.prompts:
            if prompt.img == img:
                of_class[prompt.cls].append(prompt)
        image = self.images[img]
        annotations: dict[str, list[Annotation]] = {}
        for cls in sorted(of_class):
            merged = _merged(of_class[cls], (image.height, image.width))
            if merged:
                annotations[self.classes[cls - 1]] = merged
        return annotations


def _check(
    prompt: VectorPrompt,
    where: str,
    images: Sequence[DrawnImage],
    classes: Sequence[str],
) -> None:
    if prompt.img >= len(images):
        raise UserError(
            f"{where}.img is {prompt.img}; the list `images` has {counted(len(images), 'entry')}, "
            "and the first is number 0"
        )
    if prompt.cls > len(classes):
        raise UserError(
            f"{where}.cls is {prompt.cls}; the list `categories` has "
            f"{counted(len(classes), 'entry')}, and the first is number 1"
        )
    width, height = images[prompt.img].width, images[prompt.img].height
    odd = not_finite(number for place in prompt.pts for number in place)
    if odd:
        raise UserError(f"{where}.pts holds {odd}")
    for x, y in prompt.pts:
        if not (0 <= x <= width and 0 <= y <= height):
            raise UserError(
                f"{where}.pts must hold [x, y] inside the {width} x {height} pixels of "
                f"image {prompt.img}"
            )
    if isinstance(prompt, MaskPrompt) and sum(prompt.counts) != width * height:
        raise UserError(f"{where}.counts must be run lengths of {width * height} pixels in all")
    if isinstance(prompt, BoxPrompt):
        (x0, y0), (x1, y1) = prompt.pts
        if x0 == x1 or y0 == y1:
            raise UserError(f"{where}.pts must be two corners of a box that is not empty")


def _merged(prompts: Sequence[VectorPrompt], size: tuple[int, int]) -> list[Annotation]:
    """Points and boxes of one class on one image of `size` (H, W), and the mask if it has any."""
    merged: list[Annotation] = []
    for prompt in prompts:
        if isinstance(prompt, PointPrompt):
            ((x, y),) = prompt.pts
            merged.append(Point(x, y, positive=prompt.label > 0))
        elif isinstance(prompt, BoxPrompt):
            (x0, y0), (x1, y1) = prompt.pts
            left, right = sorted((x0, x1))
            top, bottom = sorted((y0, y1))
            merged.append(Box(left, top, right, bottom))
    mask = rasterize(prompts, size)
    if mask.any():
        merged.append(mask)
    return merged


def vector_prompts(
    drawn: Drawn,
    img: int,
    cls: int,
) -> Iterable[VectorPrompt]:
    """The boxes, points and mask of one class on one image as vector prompts."""
    for box in drawn.boxes:
        x0, y0, x1, y1 = box.tolist()
        yield BoxPrompt(img, cls, ((x0, y0), (x1, y1)))
    for points, labels in zip(drawn.points, drawn.labels, strict=True):
        for point, label in zip(points.tolist(), labels.tolist(), strict=True):
            x, y = point
            yield PointPrompt(img, cls, ((x, y),), label)
    if drawn.mask is not None:
        yield mask_prompt(drawn.mask, img, cls)
