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

import gc
import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from pycocotools import mask as coco_mask

MAX_PIXELS = 89_478_485  # of an image; above it PIL takes a picture for an attack
PIECE = 1 << 17  # bytes of JSON parsed at a time
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
        ValueError: this is no COCO instance file, or no image or category in it can be used.
    """
    collecting = gc.isenabled()
    gc.disable()  # of millions of new objects none is garbage; looking triples the time
    try:
        try:
            return _arrays(*_in_pieces(raw, path), path)
        except ValueError:  # cut in wrong places, or no good file: the whole tells which
            document = _checked(_read(raw, path), path)
            return _arrays(document, document["annotations"], path)
    finally:
        if collecting:
            gc.enable()


def _in_pieces(raw: bytes, path: Path) -> tuple[dict, Iterator]:
    """The document with its annotations taken out, and these, parsed a few at a time.

    Reading the annotations while they are in the processor's cache takes two thirds of the time and
    a third of the memory of parsing the whole. The file is cut where one object of a list seems to
    end; a wrong cut leaves a piece that is not JSON.

    Raises:
        ValueError, perhaps while iterating: the file must be parsed as a whole.
    """
    first = re.search(rb'"annotations"\s*:\s*\[', raw)
    last = re.compile(rb"\}\s*\]").search(raw, first.end()) if first else None
    if first is None or last is None or raw.count(b'"annotations"') > 1:
        raise ValueError("no single list of annotations")
    begin, end = first.end(), last.end() - 1
    document = orjson.loads(raw[:begin] + raw[end:])

    def entries() -> Iterator:
        border, start = re.compile(rb"\}(\s*,\s*)\{"), begin
        while start < end:
            cut = border.search(raw, start + PIECE, end)
            stop, following = cut.span(1) if cut else (end, end)
            yield from orjson.loads(b"[" + raw[start:stop] + b"]")
            start = following

    return _checked(document, path), entries()


def _arrays(document: dict, entries: Iterable, path: Path) -> tuple[dict[str, np.ndarray], dict]:
    skipped = Counter()
    images = _unique(document["images"], _image, "image", skipped, path)
    categories = _unique(document["categories"], _category, "category", skipped, path)
    image_ids, category_ids = sorted(images), sorted(categories)
    sizes = np.array([images[i][:2] for i in image_ids], np.int64).reshape(-1, 2)
    arrays, outlines = _annotations(entries, image_ids, category_ids, sizes, skipped)
    arrays["image_ids"], arrays["sizes"] = np.array(image_ids, np.int64), sizes
    arrays["category_ids"] = np.array(category_ids, np.int64)
    words = {
        "file_names": [images[i][2] for i in image_ids],
        "category_names": [categories[i] for i in category_ids],
        "skipped": {reason: count for reason, count in sorted(skipped.items()) if count},
    }
    return arrays | outlines, words


def _read(raw: bytes, path: Path):
    try:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:  # Python writes and reads NaN, which JSON does not have
            return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); download or export it again") from None


def _checked(document, path: Path) -> dict:
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


def _unique(entries: list, read: Callable, kind: str, skipped: Counter, path: Path) -> dict:
    """What `read` makes of each entry, by id."""
    found = {}
    for entry in entries:
        value = read(entry) if isinstance(entry, dict) else None
        if value is None or not _is_whole(entry.get("id"), -(2**63), 2**63 - 1):
            skipped[kind] += 1
        elif entry["id"] in found:
            skipped[f"{kind} id"] += 1
        else:
            found[entry["id"]] = value
    if entries and not found:
        raise ValueError(
            f"{path}: no {kind} can be used; the first is {entries[0]!r:.80}, and it needs "
            + {"image": "id, file_name, height, width", "category": "id, name"}[kind]
        )
    return found


def _annotations(entries, image_ids, category_ids, sizes, skipped):
    """Arrays (a, ...) of the usable annotations by (image, position), and all outlines."""
    image_row = {image_id: row for row, image_id in enumerate(image_ids)}
    category_row = {category_id: row for row, category_id in enumerate(category_ids)}
    pixels = sizes.tolist()
    image_rows, category_rows, crowds, n_rings, n_runs = [], [], [], [], []
    boxes, areas, ring_xy, ring_lengths, runs = array("d"), array("d"), array("d"), [], []
    seen = {None}
    for entry in entries:
        first_ring, first_xy, first_run = len(ring_lengths), len(ring_xy), len(runs)
        try:
            reason = "annotation"
            number = entry.get("id")
            if number in seen and number is not None:
                raise ValueError
            reason = "reference"
            image, category = image_row[entry["image_id"]], category_row[entry["category_id"]]
            reason = "box"
            box = entry["bbox"]
            boxes.fromlist(box)
            areas.append(entry["area"] if "area" in entry else box[2] * box[3])
            if len(box) != 4:
                raise ValueError
            reason = "segmentation"
            shape = entry["segmentation"]
            if type(shape) is dict:
                runs.append(_run_lengths(shape, *pixels[image]))
            else:
                for ring in shape:
                    length = len(ring)
                    if length >= 6 and length % 2 == 0:
                        ring_xy.fromlist(ring)
                        ring_lengths.append(length)
                if len(ring_lengths) == first_ring:
                    raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError):
            skipped[reason] += 1
            del boxes[4 * len(crowds) :], areas[len(crowds) :]
            del ring_xy[first_xy:], ring_lengths[first_ring:]
            continue
        seen.add(number)
        image_rows.append(image)
        category_rows.append(category)
        crowds.append(entry.get("iscrowd", 0) == 1)
        n_rings.append(len(ring_lengths) - first_ring)
        n_runs.append(len(runs[-1]) if len(runs) > first_run else 0)
    outlines = Outlines(
        ring_xy=np.frombuffer(ring_xy, np.float64),
        ring_start=_starts(ring_lengths),
        outline_ring=_starts(n_rings),
        runs=np.concatenate([np.zeros(0, np.int64), *runs]),
        outline_run=_starts(n_runs),
    )
    image, area = np.array(image_rows, np.int64), np.frombuffer(areas, np.float64)
    box = np.frombuffer(boxes, np.float64).reshape(-1, 4)
    good_box = _boxes_fit(box, area, sizes[image])
    good = good_box & _rings_fit(outlines, sizes[image])
    skipped["box"] += int((~good_box).sum())
    skipped["segmentation"] += int((good_box & ~good).sum())
    order = np.argsort(image, kind="stable")
    order = order[good[order]]
    arrays = {
        "annotation_image": image[order],
        "annotation_category": np.array(category_rows, np.int64)[order],
        "annotation_crowd": np.array(crowds, bool)[order],
        "annotation_box": np.hstack([box[:, :2], box[:, :2] + box[:, 2:]])[order],
        "annotation_area": area[order],
        "annotation_outline": order,
    }
    return arrays, vars(outlines)


def _starts(lengths: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _boxes_fit(box: np.ndarray, area: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(a,) bool: finite, not empty, partly on the image; `box` is (x, y, width, height)."""
    low, extent, limit = box[:, :2], box[:, 2:], size[:, ::-1]
    with np.errstate(invalid="ignore", over="ignore"):
        on_image = (low < limit) & (low + extent > 0)
        not_huge = extent <= 3 * size.max(1, keepdims=True)
        return (on_image & not_huge & (extent > 0)).all(1) & (area > 0) & np.isfinite(area)


def _rings_fit(outlines: Outlines, size: np.ndarray) -> np.ndarray:
    """(a,) bool: no ring strays further than its image's longer side, or is absurdly long."""
    owner = np.repeat(np.arange(len(size)), np.diff(outlines.outline_ring))
    fits = np.ones(len(size), bool)
    if not len(owner):
        return fits
    xy, start, side = outlines.ring_xy, outlines.ring_start, size.max(1)[owner]
    good = np.minimum.reduceat(xy, start[:-1]) >= -side  # False for NaN
    good &= np.maximum.reduceat(xy, start[:-1]) <= 2 * side
    for ring in np.flatnonzero(good & (3 * side * np.diff(start) > MAX_OUTLINE)):
        points = xy[start[ring] : start[ring + 1]].reshape(-1, 2)
        good[ring] = np.abs(np.diff(points, axis=0)).sum() <= MAX_OUTLINE
    fits[owner[~good]] = False
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

    A number is written in characters of 5 bits each (from "0" on), the lowest first; bit 32
    says that more follow, and bit 16 of the last one is the sign. From the fourth run on, a number
    is the difference to the run two before.
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
