"""Prompts drawn by hand: vector prompts, their masks, and the `prompts.json` file (paper 3.1).

A vector prompt is a JSON object in original pixels; pixel (0, 0) reaches from (0, 0) to (1, 1):

    {"img": 0, "cls": 1, "type": "point", "pts": [[x, y]], "label": 1}     label -1: not this class
    {"img": 0, "cls": 1, "type": "box", "pts": [[x0, y0], [x1, y1]]}
    {"img": 0, "cls": 1, "type": "brush", "pts": [[x, y], ...], "r": 12, "erase": false}
    {"img": 0, "cls": 1, "type": "lasso", "pts": [[x, y], ...], "erase": false}
    {"img": 0, "cls": 1, "type": "mask", "pts": [], "counts": [...]}       COCO runs, by column

`img` counts the images from 0, `cls` the classes from 1 (row 0 is background). Brush, lasso and
mask prompts of one image and class make one mask, in order; `erase` takes away from that class.
`prompts.json` is a COCO file (each prompt also as an annotation, for other programs) whose
additional field `prompts` holds these objects; loading reads that field, so nothing is lost.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from la.colours import OKABE_ITO
from la.types import Box, Point

POINTS = {"point": (1, 1), "box": (2, 2), "brush": (1, 10**6), "lasso": (3, 10**6), "mask": (0, 0)}
DEFAULTS = {
    "point": {"label": 1},
    "box": {},
    "brush": {"r": 12, "erase": False},
    "lasso": {"erase": False},
    "mask": {"counts": None},
}
MAX_PIXELS = 10**8  # no photo has more; a larger size in a file is a slip and would fill the memory


@dataclass(frozen=True)
class DrawnImage:
    """An image by name (a path relative to the file that names it) and size in pixels."""

    file_name: str
    width: int
    height: int
    role: str = "support"  # or "query"


@dataclass(frozen=True)
class Drawing:
    """What a `prompts.json` file holds."""

    images: tuple[DrawnImage, ...]
    classes: tuple[str, ...]
    prompts: tuple[dict, ...]


def check_prompts(prompts, images, n_classes: int, where: str = "prompts") -> list[dict]:
    """The prompts, copied, with fields in order and defaults filled in.

    Raises:
        ValueError: an entry is not a prompt on one of these images (with `width`, `height`).
    """
    _require(isinstance(prompts, list | tuple), f"{where} must be a list of prompts")
    return [_check(p, images, n_classes, f"{where}[{i}]") for i, p in enumerate(prompts)]


def _check(p, images, n_classes: int, where: str) -> dict:
    kind = p.get("type") if isinstance(p, dict) else None
    _require(kind in list(POINTS), f"{where}.type must be one of {', '.join(POINTS)}")
    p = {"img": None, "cls": None, "type": kind, "pts": [], **DEFAULTS[kind], **p}
    unknown = ", ".join(str(key) for key in list(p)[4 + len(DEFAULTS[kind]) :])
    _require(not unknown, f"{where}: a {kind} has no field {unknown}")
    last = len(images) - 1
    _require(_whole(p["img"], 0, last), f"{where}.img must be the number of an image, 0 to {last}")
    classes = f"{where}.cls must be the number of a class, 1 to {n_classes}"
    _require(_whole(p["cls"], 1, n_classes), classes)
    pts, image, (low, high) = p["pts"], images[p["img"]], POINTS[kind]
    some = isinstance(pts, list | tuple) and low <= len(pts) <= high
    _require(some, f"{where}.pts must hold {low}{'' if high <= 2 else ' or more'} [x, y] pairs")
    for i, xy in enumerate(pts):
        inside = isinstance(xy, list | tuple) and len(xy) == 2 and _number(xy[0], 0, image.width)
        inside = inside and _number(xy[1], 0, image.height)
        size = f"{image.width} x {image.height} pixels of image {p['img']}"
        _require(inside, f"{where}.pts[{i}] must be an [x, y] inside the {size}")
    flat = kind == "box" and (pts[0][0] == pts[1][0] or pts[0][1] == pts[1][1])
    _require(not flat, f"{where}.pts must be two corners of a box that is not empty")
    _require(p.get("label", 1) in [1, -1], f"{where}.label must be 1 or -1")
    _require(_number(p.get("r", 1), 0.1, 10**5), f"{where}.r must be a radius in pixels, over 0.1")
    _require(isinstance(p.get("erase", True), bool), f"{where}.erase must be true or false")
    area, counts = image.width * image.height, p.get("counts", [])
    runs = isinstance(counts, list) and all(_whole(c, 0, area) for c in counts)
    runs = runs and (kind != "mask" or sum(counts) == area)
    _require(runs, f"{where}.counts must be run lengths of {area} pixels in all")
    return p | {"pts": [list(xy) for xy in pts]}


def _require(condition, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _number(value, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(value, low: int, high: int) -> bool:
    return isinstance(value, int) and _number(value, low, high)


def mask_prompt(mask: np.ndarray, img: int, cls: int) -> dict:
    """A mask (H, W) as a prompt, without loss."""
    flat = np.asarray(mask, bool).ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(starts, prepend=0, append=flat.size).tolist()
    return {"img": img, "cls": cls, "type": "mask", "pts": [], "counts": counts}


def prompts_of(found: list[Box | Point | np.ndarray], img: int, cls: int) -> list[dict]:
    """Boxes, points and masks of one class on one image as prompts; the inverse of `annotate`."""
    out, start = [], {"img": img, "cls": cls}
    for p in found:
        if isinstance(p, Point):
            label = 1 if p.positive else -1
            out.append(start | {"type": "point", "pts": [[p.x, p.y]], "label": label})
        elif isinstance(p, Box):
            out.append(start | {"type": "box", "pts": [[p.x0, p.y0], [p.x1, p.y1]]})
        else:
            out.append(mask_prompt(p, img, cls))
    return out


def rasterize(prompts, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) that the brush, lasso and mask prompts of one image and class leave."""
    mask = np.zeros(size, bool)
    for p in prompts:
        if p["type"] == "brush":
            _stroke(mask, p["pts"], p["r"], not p["erase"])
        elif p["type"] == "lasso":
            mask[_polygon(p["pts"], size)] = not p["erase"]
        elif p["type"] == "mask":
            inside = np.arange(len(p["counts"])) % 2 == 1
            mask |= np.repeat(inside, p["counts"]).reshape(size, order="F")
    return mask


def _stroke(mask: np.ndarray, pts, r: float, value: bool) -> None:
    """Set the pixels whose centre is within r of the polyline."""
    for (x0, y0), (x1, y1) in zip(pts, pts[1:] or pts, strict=False):
        left, top = (max(0, int(min(a, b) - r - 1)) for a, b in ((x0, x1), (y0, y1)))
        right, bottom = (int(max(a, b) + r + 2) for a, b in ((x0, x1), (y0, y1)))
        window = mask[top:bottom, left:right]
        ys, xs = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        xs, ys, dx, dy = xs + 0.5 - x0, ys + 0.5 - y0, x1 - x0, y1 - y0
        along = np.clip((xs * dx + ys * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        window[(xs - along * dx) ** 2 + (ys - along * dy) ** 2 <= r * r] = value


def _polygon(pts, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre a closed polygon winds around (the browser's non-zero rule)."""
    winding = np.zeros((size[0], size[1] + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(pts, [*pts[1:], pts[0]], strict=True):
        rows = np.arange(np.ceil(min(y0, y1) - 0.5), np.ceil(max(y0, y1) - 0.5), dtype=int)
        cross = np.ceil(x0 + (rows + 0.5 - y0) / ((y1 - y0) or 1) * (x1 - x0) - 0.5)
        np.add.at(winding, (rows, np.clip(cross, 0, size[1]).astype(int)), 1 if y1 > y0 else -1)
    return np.cumsum(winding[:, :-1], axis=1) != 0


def annotate(drawing: Drawing) -> list[dict[str, list[Box | Point | np.ndarray]]]:
    """Per image what `Predictor.support` takes: class -> points, boxes, at most one mask (H, W)."""
    out: list[dict[str, list]] = [{} for _ in drawing.images]
    for img, cls in sorted({(p["img"], p["cls"]) for p in drawing.prompts}):
        prompts = [p for p in drawing.prompts if (p["img"], p["cls"]) == (img, cls)]
        found: list[Box | Point | np.ndarray] = []
        for p in prompts:
            if p["type"] == "point":
                found.append(Point(*p["pts"][0], positive=p["label"] > 0))
            elif p["type"] == "box":
                (xa, ya), (xb, yb) = p["pts"]
                found.append(Box(min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)))
        mask = rasterize(prompts, (drawing.images[img].height, drawing.images[img].width))
        if mask.any():
            found.append(mask)
        if found:
            out[img][drawing.classes[cls - 1]] = found
    return out


def to_coco(drawing: Drawing) -> dict:
    """The content of `prompts.json`: one annotation per point, per box and per mask."""
    rows = {name: n for n, name in enumerate(drawing.classes, 1)}
    annotations: list[dict] = []
    for image_id, classes in enumerate(annotate(drawing), 1):
        for name, prompt in ((name, p) for name, found in classes.items() for p in found):
            entry = {"id": len(annotations) + 1, "image_id": image_id, "iscrowd": 0}
            entry["category_id"] = rows[name]
            annotations.append(entry | _annotation(prompt))
    return {
        "info": {"description": "Visual prompts, one annotation each; `prompts` is lossless"},
        "images": [{"id": i, **asdict(image)} for i, image in enumerate(drawing.images, 1)],
        "categories": [{"id": n, "name": name} for name, n in rows.items()],
        "annotations": annotations,
        "prompts": list(drawing.prompts),
    }


def _annotation(prompt: Box | Point | np.ndarray) -> dict:
    if isinstance(prompt, Point):
        spot = {"bbox": [prompt.x, prompt.y, 0, 0], "area": 0, "num_keypoints": 1}
        return spot | {"keypoints": [prompt.x, prompt.y, 2], "positive": prompt.positive}
    if isinstance(prompt, Box):
        width, height = prompt.x1 - prompt.x0, prompt.y1 - prompt.y0
        return {"bbox": [prompt.x0, prompt.y0, width, height], "area": width * height}
    rle = coco_mask.encode(np.asfortranarray(prompt, np.uint8))
    bbox = coco_mask.toBbox(rle).tolist()
    runs = {"size": list(prompt.shape), "counts": rle["counts"].decode()}
    return {"segmentation": runs, "bbox": bbox, "area": int(prompt.sum())}


def from_coco(data, where: str = "prompts.json") -> Drawing:
    """The inverse of `to_coco`; `where` names the file in messages.

    Raises:
        ValueError: the data are not COCO images, categories and prompts; says which entry.
    """
    _require(isinstance(data, dict), f"{where} must hold one object, with images and categories")
    entries = {key: data.get(key) for key in ("images", "categories", "prompts")}
    for key, value in entries.items():
        listed = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
        _require(listed, f"{where}: {key} must be a list of objects; draw_prompts.ipynb saves such")
    drawn = []
    for i, image in enumerate(entries["images"]):
        name, width, height = (image.get(key) for key in ("file_name", "width", "height"))
        role = image.get("role", "support")
        photo = _whole(width, 1, MAX_PIXELS) and _whole(height, 1, MAX_PIXELS // width)
        photo = photo and isinstance(name, str) and role in ["support", "query"]
        _require(photo, f"{where}: images[{i}] needs the file_name, width and height of a photo")
        drawn.append(DrawnImage(name, width, height, role))
    names = [category.get("name") for category in entries["categories"]]
    distinct = all(isinstance(n, str) and n for n in names) and len(set(names)) == len(names)
    _require(distinct, f"{where}: categories need different names, got {str(names)[:80]}")
    prompts = check_prompts(entries["prompts"], drawn, len(names), f"{where}: prompts")
    return Drawing(tuple(drawn), tuple(names), tuple(prompts))


def read(path: str | Path) -> Drawing:
    """The drawing in a `prompts.json` file.

    Raises:
        ValueError: the file is not JSON, or not such a file; says which entry.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    return from_coco(data, str(path))


def palette_png(labels: np.ndarray) -> Image.Image:
    """A label map (H, W) of rows as an indexed picture: index n is class n, in its colour."""
    picture = Image.fromarray(labels.astype(np.uint8))
    colours = [OKABE_ITO[n % len(OKABE_ITO)] for n in range(255)]
    picture.putpalette(bytes(3) + b"".join(bytes.fromhex(colour[1:]) for colour in colours))
    return picture
