"""COCO's instance format, from JSON to flat arrays; what cannot be used is left out and counted.

Reasons that `parse` counts:

    image         not an object, or without a usable id, file name, height or width
    image id      an id that an earlier image has
    category      not an object, or without a usable id or name
    category id   an id that an earlier category has
    annotation    not an object, or an id that an earlier annotation has
    reference     of an image or a category that the file does not have
    box           missing, not four finite numbers, without area, or not on the image
    segmentation  missing, empty, of wrong types, far off the image, or run lengths of another size
"""

import json
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from pycocotools import mask as coco_mask

MAX_PIXELS = 89_478_485  # of an image; above it PIL takes a picture for an attack
MAX_OUTLINE = 1_000_000  # pixels along a ring; a hostile one could fill the memory


@dataclass(frozen=True)
class Outlines:
    """Segmentations as flat numbers: an outline has rings (a polygon's) or run lengths."""

    ring_xy: np.ndarray  # float64, x y x y ... of all rings
    ring_start: np.ndarray  # (rings + 1,) int64 into ring_xy
    outline_ring: np.ndarray  # (outlines + 1,) int64 into ring_start
    runs: np.ndarray  # int64, column by column, beginning with background
    outline_run: np.ndarray  # (outlines + 1,) int64 into runs

    def draw(self, outline: int, height: int, width: int) -> np.ndarray:
        """(H, W) bool: the pixels inside, as pycocotools draws them."""
        first, last = self.outline_run[outline : outline + 2].tolist()
        if first < last:
            runs = self.runs[first:last]
            return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        first, last = self.outline_ring[outline : outline + 2].tolist()
        cuts = self.ring_start[first : last + 1].tolist()
        rings = [self.ring_xy[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        drawn = coco_mask.frPyObjects(rings, height, width)
        return coco_mask.decode(coco_mask.merge(drawn)).view(bool)


def parse(raw: bytes, path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays of the images, categories, annotations and outlines; names and counts as JSON values.

    Raises:
        ValueError: this is not a COCO instance file, or none of its images or categories can be used.
    """
    document = _read(raw, path)
    skipped = Counter()
    images = _unique(document["images"], _image, "image", skipped, path)
    categories = _unique(document["categories"], _category, "category", skipped, path)
    image_ids, category_ids = sorted(images), sorted(categories)
    sizes = np.array([images[i][:2] for i in image_ids], np.int64).reshape(-1, 2)
    arrays, outlines = _annotations(
        document["annotations"], image_ids, category_ids, sizes, skipped
    )
    arrays["image_ids"], arrays["sizes"] = np.array(image_ids, np.int64), sizes
    arrays["category_ids"] = np.array(category_ids, np.int64)
    words = {
        "file_names": [images[i][2] for i in image_ids],
        "category_names": [categories[i] for i in category_ids],
        "skipped": dict(sorted(skipped.items())),
    }
    return arrays | outlines, words


def _read(raw: bytes, path: Path) -> dict:
    try:
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError:  # Python writes and reads NaN, which JSON does not have
            document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); download or export it again") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise ValueError(
                f"{path} is not a COCO instance file: it has no list {key!r}; "
                "give an instances_*.json, or export the data in COCO's instance format"
            )
    return document


def _is_whole(value, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_text(value) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


def _image(entry: dict) -> tuple[int, int, str] | None:
    height, width, name = entry.get("height"), entry.get("width"), entry.get("file_name")
    fits = _is_whole(height, 1, MAX_PIXELS) and _is_whole(width, 1, MAX_PIXELS // height)
    return (height, width, name) if fits and _is_text(name) else None


def _category(entry: dict) -> str | None:
    return entry.get("name") if _is_text(entry.get("name")) else None


def _unique(entries: list, read, kind: str, skipped: Counter, path: Path) -> dict:
    """What `read` makes of each entry, by id; the first of a kind that cannot be used is named."""
    found, first = {}, None
    for position, entry in enumerate(entries):
        value = read(entry) if isinstance(entry, dict) else None
        if value is None or not _is_whole(entry.get("id"), -(2**63), 2**63 - 1):
            skipped[kind] += 1
            first = position if first is None else first
        elif entry["id"] in found:
            skipped[f"{kind} id"] += 1
        else:
            found[entry["id"]] = value
    if entries and not found:
        raise ValueError(
            f"{path}: no entry of {kind} kind can be used, the first fault is at position {first}: "
            f"{str(entries[first])[:80]}"
        )
    return found


def _annotations(entries, image_ids, category_ids, sizes, skipped):
    """Arrays (a, ...) of the usable annotations in the order (image, position), and their outlines."""
    image_row = {image_id: row for row, image_id in enumerate(image_ids)}
    category_row = {category_id: row for row, category_id in enumerate(category_ids)}
    pixels = sizes.tolist()
    numbers, ring_xy, ring_start, outline_ring = (
        array("d"),
        array("d"),
        array("q", [0]),
        array("q", [0]),
    )
    runs, n_runs, outline_run = [], 0, array("q", [0])
    rows, seen = array("q"), set()
    for entry in entries:
        try:
            reason = "annotation"
            number = entry.get("id")
            if number in seen:
                raise ValueError
            reason = "reference"
            image, category = image_row[entry["image_id"]], category_row[entry["category_id"]]
            reason = "box"
            box = array("d", entry["bbox"])
            area, crowd = entry.get("area"), entry.get("iscrowd", 0) == 1
            box.append(box[2] * box[3] if area is None else area)
            if len(box) != 5:
                raise ValueError
            reason = "segmentation"
            shape = entry["segmentation"]
            if type(shape) is dict:
                lengths = _run_lengths(shape, *pixels[image])
                runs.append(lengths)
                n_runs += len(lengths)
            else:
                rings = [
                    array("d", ring) for ring in shape if len(ring) >= 6 and len(ring) % 2 == 0
                ]
                if not rings:
                    raise ValueError
                for ring in rings:
                    ring_xy.extend(ring)
                    ring_start.append(len(ring_xy))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError):
            skipped[reason] += 1
            continue
        if number is not None:
            seen.add(number)
        numbers.extend(box)
        rows.extend((image, category, crowd))
        outline_ring.append(len(ring_start) - 1)
        outline_run.append(n_runs)
    table = np.frombuffer(rows, np.int64).reshape(-1, 3)
    box = np.frombuffer(numbers, np.float64).reshape(-1, 5).copy()
    outlines = Outlines(
        ring_xy=np.frombuffer(ring_xy, np.float64),
        ring_start=np.frombuffer(ring_start, np.int64),
        outline_ring=np.frombuffer(outline_ring, np.int64),
        runs=np.concatenate([np.zeros(0, np.int64), *runs]),
        outline_run=np.frombuffer(outline_run, np.int64),
    )
    size = sizes[table[:, 0]]
    off_image = ~_boxes_fit(box, size)
    off_ring = ~off_image & ~_rings_fit(outlines, size)
    skipped.update(
        {k: int(v.sum()) for k, v in (("box", off_image), ("segmentation", off_ring)) if v.any()}
    )
    order = np.argsort(table[:, 0], kind="stable")
    order = order[~(off_image | off_ring)[order]]
    box[:, 2:4] += box[:, :2]
    arrays = {
        "annotation_image": table[order, 0],
        "annotation_category": table[order, 1],
        "annotation_crowd": table[order, 2] != 0,
        "annotation_box": box[order, :4],
        "annotation_area": box[order, 4],
        "_outline": order,
    }
    return arrays, vars(outlines)


def _boxes_fit(box: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(a,) bool: finite, not empty, and somewhere on the image; `box` holds x, y, width, height, area."""
    x, y, width, height, area = box.T
    on_image = (x < size[:, 1]) & (y < size[:, 0]) & (x + width > 0) & (y + height > 0)
    not_huge = (width <= 3 * size.max(1)) & (height <= 3 * size.max(1))
    return np.isfinite(box).all(1) & (width > 0) & (height > 0) & (area > 0) & on_image & not_huge


def _rings_fit(outlines: Outlines, size: np.ndarray) -> np.ndarray:
    """(a,) bool: no ring strays further than its image's longer side, or is absurdly long."""
    n_rings = np.diff(outlines.outline_ring)
    if not n_rings.any():
        return np.ones(len(n_rings), bool)
    starts = outlines.ring_start[:-1]
    low = np.minimum.reduceat(outlines.ring_xy, starts)
    high = np.maximum.reduceat(outlines.ring_xy, starts)
    side = np.repeat(size.max(1), n_rings)
    good = (low >= -side) & (high <= 2 * side)  # False for NaN
    points = np.where(np.abs(outlines.ring_xy) < 1e6, outlines.ring_xy, 0).reshape(-1, 2)
    steps = np.abs(np.diff(points, axis=0, append=points[-1:])).sum(1)
    good &= np.add.reduceat(steps, starts // 2) <= MAX_OUTLINE
    bad = np.repeat(np.arange(len(n_rings)), n_rings)[~good]
    fits = np.ones(len(n_rings), bool)
    fits[bad] = False
    return fits


def _run_lengths(segmentation: dict, height: int, width: int) -> np.ndarray:
    """Run lengths (r,) int64 of a plain or compressed RLE.

    Raises:
        ValueError, TypeError, KeyError: they are not those of a (height, width) mask.
    """
    counts = segmentation["counts"]
    if segmentation["size"] != [height, width]:
        raise ValueError
    if isinstance(counts, str):
        runs = _uncompressed(counts)
    else:
        if not all(type(count) is int for count in counts):
            raise ValueError
        runs = np.array(counts, np.int64)
    if (
        not len(runs)
        or runs.min() < 0
        or runs.max() > height * width
        or runs.sum() != height * width
    ):
        raise ValueError
    return runs


def _uncompressed(text: str) -> np.ndarray:
    """The run lengths of COCO's compressed form.

    A number is written in characters of 5 bits each (from "0" on), the lowest first, bit 32 saying that
    more follow and bit 16 of the last being the sign; from the fourth run on, it is the difference to
    the run two before.
    """
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes & 32 == 0)
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError
    starts = np.concatenate([[0], ends[:-1] + 1])
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    if shifts.max() > 30:
        raise ValueError
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= (codes[ends] >> 4 & 1) << (shifts[ends] + 5)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
