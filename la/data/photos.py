"""A reader's own images and prompts: whatever holds pixels comes in, and is checked (paper 3.1)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from la.data.images import to_rgb
from la.data.prompts import Drawn
from la.types import Box, Point

Photo = str | Path | Image.Image | np.ndarray | Tensor
Prompt = Point | Box | np.ndarray | Tensor | Image.Image  # the last three are masks


def open_photo(source: Photo) -> Image.Image:
    """Any image as 8-bit RGB, turned upright as its EXIF says.

    Args:
        source: a path, a PIL image, an array (H, W) or (H, W, 3), or a tensor (H, W) or (3, H, W);
            arrays and tensors hold uint8, or floats in [0, 1]. A fourth channel is dropped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file or array is no image.
    """
    if isinstance(source, Tensor | np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return to_rgb(ImageOps.exif_transpose(source))
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"no image file at {path}; check the path")
    try:
        with Image.open(path) as file:
            return to_rgb(ImageOps.exif_transpose(file))
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise ValueError(f"{path} cannot be read as an image: {error}; use JPEG or PNG") from None


def to_drawn(prompts: Sequence[Prompt], size: tuple[int, int], where: str) -> Drawn:
    """The checked prompts of one class on an image of `size` (H, W), in original pixels.

    Args:
        prompts: points, boxes and masks (H, W) in any number; several masks are one, their union.
        where: the example's name in messages.

    Raises:
        ValueError: there are none, or one lies outside of the image or has another size.
    """
    _require(
        isinstance(prompts, list | tuple) and len(prompts) > 0,
        f"{where} needs a list with at least one Point, Box or mask; or leave the class out",
    )
    drawn, (height, width) = Drawn(), size
    inside = (
        f"is not inside the {width} x {height} pixels of {where}; prompts are in original pixels"
    )
    for prompt in prompts:
        if isinstance(prompt, Point):
            fits = 0 <= prompt.x <= width and 0 <= prompt.y <= height
            _require(fits, f"{prompt} {inside}")
            drawn.points.append(np.array([[prompt.x, prompt.y]], dtype=float))
            drawn.labels.append(np.array([1 if prompt.positive else -1]))
        elif isinstance(prompt, Box):
            x0, y0, x1, y1 = prompt.x0, prompt.y0, prompt.x1, prompt.y1
            _require(not (x1 <= x0 or y1 <= y0), f"{prompt} of {where} is empty; x0 < x1, y0 < y1")
            _require(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height, f"{prompt} {inside}")
            drawn.boxes.append(np.array([x0, y0, x1, y1], dtype=float))
        else:
            mask = _to_mask(prompt, size, where)
            drawn.mask = mask if drawn.mask is None else drawn.mask | mask
    return drawn


def _to_mask(prompt: Prompt, size: tuple[int, int], where: str) -> np.ndarray:
    kinds = "a prompt is a Point, a Box or a mask (H, W)"
    known = isinstance(prompt, np.ndarray | Tensor | Image.Image)
    _require(known, f"{where} has a {type(prompt).__name__}; {kinds}")
    mask = prompt.cpu().numpy() if isinstance(prompt, Tensor) else np.asarray(prompt)
    _require(mask.ndim == 2, f"{where} has a mask of shape {mask.shape}; {kinds}")
    sizes = "{1} x {0} pixels, the image {3} x {2}".format(*mask.shape, *size)
    _require(mask.shape == tuple(size), f"{where} has a mask of {sizes}; draw it at the same size")
    _require(mask.any(), f"{where} has a mask that marks no pixel; leave it out")
    return mask.astype(bool)


def _from_array(source: np.ndarray | Tensor) -> Image.Image:
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
        source = np.moveaxis(source, 0, -1) if source.ndim == 3 else source
    array = source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source
    fits = array.size > 0 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)))
    form = "an image is an array (H, W, 3) or (H, W), or a tensor (3, H, W) or (H, W)"
    _require(fits, f"{form}; not one of shape {source.shape}")
    if np.issubdtype(array.dtype, np.floating):
        unit = bool(np.isfinite(array).all()) and array.min() >= 0 and array.max() <= 1
        _require(unit, "an image of floats has values in [0, 1]; undo its normalisation first")
        array = (array * 255).round().astype(np.uint8)
    _require(array.dtype == np.uint8, f"an image has uint8 or floats in [0, 1], not {array.dtype}")
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
