"""Prompts drawn by hand: vector prompts on images, checked, and what a model takes of them (3.1).

A vector prompt is a JSON object in original pixels; pixel (0, 0) reaches from (0, 0) to (1, 1):

    {"img": 0, "cls": 1, "type": "point", "pts": [[x, y]], "label": 1}     label -1: not this class
    {"img": 0, "cls": 1, "type": "box", "pts": [[x0, y0], [x1, y1]]}
    {"img": 0, "cls": 1, "type": "brush", "pts": [[x, y], ...], "r": 12, "erase": false}
    {"img": 0, "cls": 1, "type": "lasso", "pts": [[x, y], ...], "erase": false}
    {"img": 0, "cls": 1, "type": "mask", "pts": [], "counts": [...]}       COCO runs, by column

`img` counts the images from 0, `cls` the classes from 1 (row 0 is background). Brush, lasso and
mask prompts of one image and class make one mask, in order; `erase` takes away from that class.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from la.data.prompts import Drawn
from la.errors import UserError
from la.predict.strokes import rasterize
from la.types import Box, Point

# Of each type: least and most points, further fields with their defaults.
TYPES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "point": (1, 1, {"label": 1}),
    "box": (2, 2, {}),
    "brush": (1, 10**6, {"r": 12, "erase": False}),
    "lasso": (3, 10**6, {"erase": False}),
    "mask": (0, 0, {"counts": []}),
}
MAX_PIXELS = 10**8  # no photo has more; a larger size in a file is a slip and would fill the memory


@dataclass(frozen=True)
class DrawnImage:
    """An image by name (a path relative to the file that names it) and size in pixels."""

    file_name: str
    width: int
    height: int
    role: str = "support"  # or "query"

    def __post_init__(self) -> None:
        photo = _whole(self.width, 1, MAX_PIXELS) and _whole(self.height, 1, MAX_PIXELS)
        photo = photo and self.width * self.height <= MAX_PIXELS and isinstance(self.file_name, str)
        fits = photo and self.role in ["support", "query"]
        require(fits, f"{self} needs the file_name, width, height and role of a photo")


@dataclass(frozen=True)
class Drawing:
    """What a `prompts.json` file holds; ValueError says which entry does not fit."""

    images: tuple[DrawnImage, ...]
    classes: tuple[str, ...]
    prompts: tuple[dict[str, Any], ...]

    def __post_init__(self) -> None:
        names = self.classes
        distinct = all(isinstance(n, str) and n for n in names) and len(set(names)) == len(names)
        require(distinct and len(names) < 255, f"classes need different names, not {names}"[:99])
        checked = tuple(_check(p, i, self) for i, p in enumerate(self.prompts))
        object.__setattr__(self, "prompts", checked)


def _check(p: Any, i: int, drawing: Drawing) -> dict[str, Any]:
    """A copy of prompt i with fields in order and defaults filled in."""
    where = f"prompts[{i}]"
    kind = str(p.get("type")) if isinstance(p, dict) else ""
    require(kind in TYPES, f"{where}.type must be one of {', '.join(TYPES)}")
    least, most, further = TYPES[kind]
    p = {"img": None, "cls": None, "type": kind, "pts": [], **further, **p}
    unknown = ", ".join(map(str, list(p)[4 + len(further) :]))
    require(not unknown, f"{where}: a {kind} has no field {unknown}")
    for key, low, high in (("img", 0, len(drawing.images) - 1), ("cls", 1, len(drawing.classes))):
        require(_whole(p[key], low, high), f"{where}.{key} must be a number from {low} to {high}")
    width, height = size = drawing.images[p["img"]].width, drawing.images[p["img"]].height
    pts, area = _array(p["pts"], float, (-1, 2)), width * height
    rule = f"{least}{'' if most <= 2 else ' or more'} [x, y] inside the {width} x {height} pixels"
    fits = pts is not None and least <= len(pts) <= most and ((pts >= 0) & (pts <= size)).all()
    require(fits, f"{where}.pts must hold {rule} of image {p['img']}")
    assert pts is not None
    flat = kind == "box" and (pts[0] == pts[1]).any()
    require(not flat, f"{where}.pts must be two corners of a box that is not empty")
    require(p.get("label", 1) in (1, -1), f"{where}.label must be 1 or -1")
    radius = isinstance(p.get("r", 1), int | float) and 0.1 <= p.get("r", 1) <= 10**5
    require(radius, f"{where}.r must be a radius in pixels, over 0.1")
    require(isinstance(p.get("erase", True), bool), f"{where}.erase must be true or false")
    runs = _array(p.get("counts", [area]), np.int64, -1)
    fits = runs is not None and ((runs >= 0) & (runs <= area)).all() and runs.sum() == area
    require(fits, f"{where}.counts must be run lengths of {area} pixels in all")
    assert runs is not None
    return p | {"pts": pts.tolist()} | ({"counts": runs.tolist()} if "counts" in p else {})


def require(condition: bool | np.bool_, message: str) -> None:
    """Raises UserError with the message unless the condition holds."""
    if not condition:
        raise UserError(message)


def _array(values: Any, dtype: DTypeLike, shape: int | tuple[int, int]) -> np.ndarray | None:
    try:
        return np.array(values, dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def mask_prompt(mask: np.ndarray, img: int, cls: int) -> dict[str, Any]:
    """A mask (H, W) as a prompt, without loss."""
    flat = np.asarray(mask, bool).ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(starts, prepend=0, append=flat.size).tolist()
    return {"img": img, "cls": cls, "type": "mask", "pts": [], "counts": counts}


def prompts_of(found: Drawn, img: int, cls: int) -> list[dict[str, Any]]:
    """The boxes, points and mask of one class on one image as prompts."""
    start: dict[str, Any] = {"img": img, "cls": cls}
    points = zip(chain(*found.points), chain(*found.labels), strict=True)
    out = [start | {"type": "box", "pts": box.reshape(2, 2).tolist()} for box in found.boxes]
    out += [start | {"type": "point", "pts": [p.tolist()], "label": int(n)} for p, n in points]
    return out + ([] if found.mask is None else [mask_prompt(found.mask, img, cls)])


def annotate(drawing: Drawing) -> list[dict[str, list[Box | Point | np.ndarray]]]:
    """Per image what `Predictor.support` takes: class -> points, boxes, at most one mask (H, W)."""
    out: list[dict[str, list]] = [{} for _ in drawing.images]
    for img, cls in sorted({(p["img"], p["cls"]) for p in drawing.prompts}):
        prompts = [p for p in drawing.prompts if (p["img"], p["cls"]) == (img, cls)]
        found: list[Box | Point | np.ndarray] = []
        for p in prompts:
            if p["type"] == "point":
                x, y = p["pts"][0]
                found.append(Point(x, y, positive=p["label"] > 0))
            elif p["type"] == "box":
                found.append(Box(*np.sort(p["pts"], 0).ravel().tolist()))
        mask = rasterize(prompts, (drawing.images[img].height, drawing.images[img].width))
        found += [mask] if mask.any() else []
        if found:
            out[img][drawing.classes[cls - 1]] = found
    return out
