"""The user's images and prompts, in any usual form, checked and converted (paper 3.1)."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from la.data.pictures.images import to_rgb
from la.data.sampling.prompts import Drawn
from la.errors import MissingFile, UserError
from la.types import Box, Point

log = logging.getLogger(__name__)

Photo = str | Path | bytes | Image.Image | np.ndarray | Tensor
Prompt = Point | Box | np.ndarray | Tensor | Image.Image  # the last three are masks
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # how a JPEG and a PNG begin
HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")  # brands of the file type


def open_photo(
    source: Photo,
    name: str = "the file",
    at_least: int | None = None,
) -> Image.Image:
    """Any image as 8-bit RGB, turned upright as its EXIF says.

    Args:
        source: a path, a file's bytes, a PIL image, an array (H, W) or (H, W, 3), or a tensor
            (H, W) or (3, H, W) of uint8, or floats in [0, 1]. A fourth channel is dropped.
        name: what messages call a source that is not a path.
        at_least: pixels of the long side that suffice; a larger JPEG is decoded at a fraction of
            its size, which is faster. When omitted, at its size.

    Raises:
        MissingFile: there is no such file.
        UserError: the file or array is not an image.
    """
    if isinstance(source, Tensor | np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return to_rgb(ImageOps.exif_transpose(source))
    with _opened(source, name) as image:
        if at_least is not None:
            image.draft("RGB", (at_least, at_least))  # does nothing unless it is a JPEG
        return to_rgb(ImageOps.exif_transpose(image))


def photo_size(source: str | Path | bytes, name: str = "the file") -> tuple[int, int]:
    """(H, W) of an image file or of its bytes, upright; only the header is read.

    Raises:
        MissingFile, UserError: see `open_photo`.
    """
    with _opened(source, name) as image:
        width, height = image.size
        if image.getexif().get(ExifTags.Base.Orientation) in TURNED:
            return width, height
        return height, width


@contextmanager
def _opened(source: str | Path | bytes, name: str) -> Iterator[Image.Image]:
    """An image file, its header read; errors in the block are raised with its name."""
    if isinstance(source, bytes):
        file: BytesIO | Path = BytesIO(source)
        start = source[:32]
    else:
        file, name = Path(source), str(source)
        if not file.is_file():
            raise MissingFile(f"no image file at {source}; check the path")
        with file.open("rb") as opened:
            start = opened.read(32)
    try:
        with Image.open(file) as image:
            yield image
    except Exception as error:  # decoders raise any kind of error on a damaged file
        raise UserError(f"{name} cannot be read as an image: {_reason(error, start)}") from None


def _reason(error: Exception, start: bytes) -> str:
    """Why a file that begins with these bytes is not decoded, and what to do."""
    if start[4:8] == b"ftyp" and start[8:12] in HEIC:
        return "it is a HEIC photograph; save it as JPEG, or set the phone to take JPEG"
    if isinstance(error, Image.DecompressionBombError):
        return f"{error}; make it smaller"
    if not start:
        return "the file is empty; copy it again"
    if not isinstance(error, UnidentifiedImageError):
        return f"the file is damaged ({error}); copy it again"
    if start.startswith(SIGNATURES):
        return "the file is damaged; copy it again"
    return "its format is unknown; use JPEG or PNG"


def to_drawn(
    prompts: Sequence[Prompt],
    size: tuple[int, int],
    where: str,
) -> Drawn:
    """The checked prompts of one class on an image of `size` (H, W), in original pixels.

    Args:
        prompts: points, boxes and masks (H, W) in any number; several masks are one, their union.
        size: (H, W) of the image.
        where: the example's name in messages.

    Raises:
        UserError: there are none, or one is outside the image or has another size.
    """
    if not isinstance(prompts, list | tuple) or not prompts:
        raise UserError(
            f"{where} needs a list with at least one Point, Box or mask; or leave it out"
        )
    drawn = Drawn()
    for prompt in prompts:
        if isinstance(prompt, Point):
            _check_inside(prompt, prompt.x, prompt.y, size, where)
            drawn.points.append(np.array([[prompt.x, prompt.y]], dtype=float))
            drawn.labels.append(np.array([1 if prompt.positive else -1]))
        elif isinstance(prompt, Box):
            _check_inside(prompt, prompt.x0, prompt.y0, size, where)
            _check_inside(prompt, prompt.x1, prompt.y1, size, where)
            if prompt.x1 <= prompt.x0 or prompt.y1 <= prompt.y0:
                raise UserError(f"{prompt} of {where} is empty; it needs x0 < x1 and y0 < y1")
            corners = [prompt.x0, prompt.y0, prompt.x1, prompt.y1]
            drawn.boxes.append(np.array(corners, dtype=float))
        else:
            mask = _to_mask(prompt, size, where)
            drawn.mask = mask if drawn.mask is None else drawn.mask | mask
    return drawn


def _check_inside(
    prompt: Point | Box,
    x: float,
    y: float,
    size: tuple[int, int],
    where: str,
) -> None:
    height, width = size
    try:
        is_inside = 0 <= x <= width and 0 <= y <= height
    except TypeError:
        raise UserError(f"{prompt} of {where} needs numbers as coordinates") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UserError(f"{prompt} of {where} holds a coordinate that is not a finite number")
    if not is_inside:
        raise UserError(
            f"{prompt} is not inside the {width} x {height} pixels of {where}; use original pixels"
        )


def _to_mask(
    prompt: Prompt,
    size: tuple[int, int],
    where: str,
) -> np.ndarray:
    """The mask (H, W) bool of an array, tensor or image of that size."""
    kinds = "a prompt is a Point, a Box or a mask (H, W)"
    if not isinstance(prompt, np.ndarray | Tensor | Image.Image):
        raise UserError(f"{where} has a {type(prompt).__name__}; {kinds}")
    mask = prompt.cpu().numpy() if isinstance(prompt, Tensor) else np.asarray(prompt)
    if mask.ndim != 2:
        raise UserError(f"{where} has a mask of shape {mask.shape}; {kinds}")
    height, width = size
    if mask.shape != (height, width):
        mask_size = f"{mask.shape[1]} x {mask.shape[0]} pixels"
        raise UserError(
            f"{where} has a mask of {mask_size}, the image {width} x {height}; "
            "draw it at the same size"
        )
    # Probabilities would mark every pixel that is not exactly 0.
    if mask.dtype.kind not in "bui" and not np.isin(mask, (0, 1, 255)).all():
        raise UserError(f"{where} has a mask with values other than 0 and 1; use mask > 0.5")
    if not mask.any():
        raise UserError(f"{where} has a mask that marks no pixel; leave it out")
    return mask.astype(bool)


def _from_array(source: np.ndarray | Tensor) -> Image.Image:
    """The image of an array (H, W) or (H, W, 3), or of a tensor (H, W) or (3, H, W)."""
    array = source.detach().cpu().numpy() if isinstance(source, Tensor) else source
    if isinstance(source, Tensor) and array.ndim == 3:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    is_grey = array.ndim == 2
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.size == 0 or not (is_grey or is_colour):
        raise UserError(
            "an image is an array (H, W, 3) or (H, W), or a tensor (3, H, W) or (H, W); "
            f"not one of shape {tuple(source.shape)}"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not ((array >= 0) & (array <= 1)).all():
            raise UserError("an image of floats has values in [0, 1]; undo its normalisation first")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"an image has uint8 or floats in [0, 1], not {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


@cache
def warn_of_photographs(model: str) -> None:
    """Warn, once per model, that it was trained on drawings and the image is a photograph."""
    log.warning(
        "the model %s was trained only on generated drawings, and this is like a photograph; "
        'la.load("photos") is the model for photographs',
        model,
    )
