"""A reader's own images and prompts: whatever holds pixels comes in, and is checked (paper 3.1)."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from la.data.images import to_rgb
from la.data.prompts import Drawn
from la.errors import MissingFile, UserError
from la.predict.drawing import require
from la.types import Box, Point

Photo = str | Path | bytes | Image.Image | np.ndarray | Tensor
Prompt = Point | Box | np.ndarray | Tensor | Image.Image  # the last three are masks


def open_photo(source: Photo, name: str = "the file") -> Image.Image:
    """Any image as 8-bit RGB, turned upright as its EXIF says.

    Args:
        source: a path, a file's bytes, a PIL image, an array (H, W) or (H, W, 3), or a tensor
            (H, W) or (3, H, W) of uint8, or floats in [0, 1]. A fourth channel is dropped.
        name: of what is no path, in messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file or array is no image.
    """
    if isinstance(source, Tensor | np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return to_rgb(ImageOps.exif_transpose(source))
    if not isinstance(source, bytes):
        name = str(source)
        if not Path(source).is_file():
            raise MissingFile(f"no image file at {source}; check the path")
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as file:
            return to_rgb(ImageOps.exif_transpose(file))
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise UserError(f"{name} cannot be read as an image: {error}; use JPEG or PNG") from None


def to_drawn(prompts: Sequence[Prompt], size: tuple[int, int], where: str) -> Drawn:
    """The checked prompts of one class on an image of `size` (H, W), in original pixels.

    Args:
        prompts: points, boxes and masks (H, W) in any number; several masks are one, their union.
        where: the example's name in messages.

    Raises:
        ValueError: there are none, or one lies outside of the image or has another size.
    """
    some = isinstance(prompts, list | tuple) and len(prompts) > 0
    require(some, f"{where} needs a list with at least one Point, Box or mask; or leave it out")
    drawn, (height, width) = Drawn(), size
    inside = f"is not inside the {width} x {height} pixels of {where}; use original pixels"
    for p in prompts:
        if isinstance(p, Point):
            require(0 <= p.x <= width and 0 <= p.y <= height, f"{p} {inside}")
            drawn.points.append(np.array([[p.x, p.y]], dtype=float))
            drawn.labels.append(np.array([1 if p.positive else -1]))
        elif isinstance(p, Box):
            empty = p.x1 <= p.x0 or p.y1 <= p.y0
            require(not empty, f"{p} of {where} is empty; x0 < x1, y0 < y1")
            require(0 <= p.x0 < p.x1 <= width and 0 <= p.y0 < p.y1 <= height, f"{p} {inside}")
            drawn.boxes.append(np.array([p.x0, p.y0, p.x1, p.y1], dtype=float))
        else:
            mask = _to_mask(p, size, where)
            drawn.mask = mask if drawn.mask is None else drawn.mask | mask
    return drawn


def _to_mask(prompt: Prompt, size: tuple[int, int], where: str) -> np.ndarray:
    kinds = "a prompt is a Point, a Box or a mask (H, W)"
    known = isinstance(prompt, np.ndarray | Tensor | Image.Image)
    require(known, f"{where} has a {type(prompt).__name__}; {kinds}")
    mask = prompt.cpu().numpy() if isinstance(prompt, Tensor) else np.asarray(prompt)
    require(mask.ndim == 2, f"{where} has a mask of shape {mask.shape}; {kinds}")
    sizes = "{1} x {0} pixels, the image {3} x {2}".format(*mask.shape, *size)
    require(mask.shape == tuple(size), f"{where} has a mask of {sizes}; draw it at the same size")
    require(mask.any(), f"{where} has a mask that marks no pixel; leave it out")
    return mask.astype(bool)


def _from_array(source: np.ndarray | Tensor) -> Image.Image:
    if isinstance(source, Tensor):
        array = source.detach().cpu().numpy()
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    else:
        array = source
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    fits = array.size > 0 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)))
    form = "an image is an array (H, W, 3) or (H, W), or a tensor (3, H, W) or (H, W)"
    require(fits, f"{form}; not one of shape {tuple(source.shape)}")
    if np.issubdtype(array.dtype, np.floating):
        unit = ((array >= 0) & (array <= 1)).all()
        require(unit, "an image of floats has values in [0, 1]; undo its normalisation first")
        array = (array * 255).round().astype(np.uint8)
    require(array.dtype == np.uint8, f"an image has uint8 or floats in [0, 1], not {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))
