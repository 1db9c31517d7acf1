"""Support sets from files: a `prompts.json` with its photographs, or a saved support set."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from la.data.pictures.contents import picture_digest
from la.errors import MissingFile, UserError
from la.predict.encoded import Examples, check_adaptable
from la.predict.predictor import Predictor
from la.predict.prompts import prompts_file
from la.predict.prompts.drawing import Annotation, DrawnImage
from la.predict.prompts.named_photos import RelativePhotos
from la.predict.prompts.photos import open_photo
from la.predict.support_set import SupportSet
from la.types import Box, Point

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SupportPhoto:
    """A photograph of a `prompts.json` file and what is prompted on it."""

    name: str  # in the file
    path: Path
    image: Image.Image  # RGB, upright, at the original size
    prompts: dict[str, list[Annotation]]


@dataclass(frozen=True)
class SupportFile:
    """The photographs of a `prompts.json` file that carry prompts, and all classes it names."""

    classes: tuple[str, ...]
    photos: tuple[SupportPhoto, ...]

    def support(self, predictor: Predictor, adapt_steps: int = 0) -> SupportSet:
        """The support set of all photographs; raises as `Predictor.support`."""
        examples: Examples = [(photo.image, photo.prompts) for photo in self.photos]
        if adapt_steps:  # here, because a predictor does not know the photographs' names
            paths = [str(photo.path) for photo in self.photos]
            check_adaptable(examples, adapt_steps, predictor.model.config, paths)
        return predictor.support(examples, adapt_steps=adapt_steps)


def read_support_file(path: str | Path) -> SupportFile:
    """The photographs and prompts of a `prompts.json` file.

    Raises:
        MissingFile: the file or a photograph is missing.
        UserError: an entry is wrong, or a photograph has another shape than when it was drawn on.
    """
    path = Path(path)
    if not path.is_file():
        fault = f"{path} is a folder" if path.is_dir() else f"no file {path}"
        raise MissingFile(
            f"{fault}; draw_prompts.ipynb saves a prompts.json, and python -m la prompts "
            "makes one of annotations"
        )
    drawing = prompts_file.read(path)
    named = RelativePhotos(path.parent, str(path))
    photos = []
    for entry, prompts_of_class in zip(drawing.images, drawing.annotations(), strict=True):
        if prompts_of_class:
            photo = named.find(entry.file_name)
            photos.append(_opened(entry, photo, prompts_of_class, path))
    return SupportFile(drawing.classes, tuple(photos))


def read_support(predictor: Predictor, path: str | Path, adapt_steps: int = 0) -> SupportSet:
    """The support set of a `prompts.json` file, or one that `SupportSet.save` wrote.

    Raises:
        MissingFile, UserError: see `read_support_file`, `SupportSet.load` and `Predictor.support`;
            or a saved support set is to be adapted, which holds no images.
    """
    if Path(path).suffix == ".safetensors" and Path(path).is_file():
        if adapt_steps:
            raise UserError(
                f"{path} holds no images to adapt the decoder on; give the prompts.json instead, "
                "or leave out --adapt-steps: a support set that was adapted stays so"
            )
        return SupportSet.load(path)
    return read_support_file(path).support(predictor, adapt_steps)


def read_pictures(path: str | Path) -> frozenset[str]:
    """The digests of the photographs of a `prompts.json` that carry prompts.

    A saved support set does not hold its photographs, so there are none.

    Raises:
        MissingFile, UserError: see `read_support_file`.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return frozenset()
    drawing = prompts_file.read(path)
    named = RelativePhotos(path.parent, str(path))
    prompted = {drawing.images[prompt.img].file_name for prompt in drawing.prompts}
    return frozenset(picture_digest(named.find(name)) for name in prompted)


def read_classes(path: str | Path) -> tuple[str, ...]:
    """The classes in the order of a `prompts.json` file, or of a saved support set."""
    if Path(path).suffix == ".safetensors":
        return SupportSet.load(path).class_names
    return prompts_file.read(path).classes


def _opened(
    entry: DrawnImage,
    path: Path,
    prompts: dict[str, list[Annotation]],
    file: Path,
) -> SupportPhoto:
    image = open_photo(path)
    drawn_on = (entry.width, entry.height)
    if image.size != drawn_on:
        x_scale = image.width / entry.width
        y_scale = image.height / entry.height
        if abs(x_scale - y_scale) > 1 / min(drawn_on):
            raise UserError(
                f"{path} has {image.width} x {image.height} pixels, {file} says {entry.width} x "
                f"{entry.height}; put back the photograph that was drawn on, or draw it again"
            )
        log.warning(
            "%s has %d x %d pixels, %s says %d x %d: its prompts are scaled",
            path,
            image.width,
            image.height,
            file,
            entry.width,
            entry.height,
        )
        prompts = {
            name: [_scaled(prompt, image.size, x_scale, y_scale) for prompt in of_class]
            for name, of_class in prompts.items()
        }
    return SupportPhoto(entry.file_name, path, image, prompts)


def _scaled(
    prompt: Annotation,
    size: Sequence[int],
    x_scale: float,
    y_scale: float,
) -> Annotation:
    """A prompt on a photograph that was resized to `size` (W, H)."""
    match prompt:
        case Point(x, y, positive):
            return Point(x * x_scale, y * y_scale, positive)
        case Box(x0, y0, x1, y1):
            return Box(x0 * x_scale, y0 * y_scale, x1 * x_scale, y1 * y_scale)
    mask = Image.fromarray(prompt)
    resized = mask.resize((size[0], size[1]), Image.Resampling.NEAREST)
    return np.asarray(resized)
