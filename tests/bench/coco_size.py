"""An annotation file of the size of COCO train2014, in its layout, with random content."""

from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from la.rng import stream

TEMPLATES = 5_000  # different outlines; annotations take one each
SIDE = 480  # all outlines lie in it, so in landscape and portrait images


def write_annotations(path: Path, n_images: int, n_annotations: int) -> Path:
    """Images of 640 x 480 or 480 x 640, instances of 80 classes, frequent and rare, 1 % crowds."""
    rng = stream(0, "annotation file")
    portrait = rng.random(n_images) < 0.25
    images = [
        {
            "license": 1 + i % 8,
            "file_name": f"COCO_train2014_{i:012d}.jpg",
            "coco_url": f"http://images.example.org/train2014/COCO_train2014_{i:012d}.jpg",
            "height": 640 if tall else 480,
            "width": 480 if tall else 640,
            "date_captured": "2013-11-14 11:18:45",
            "flickr_url": f"http://farm9.example.org/8186/{i:010d}_17fbd802f_z.jpg",
            "id": i,
        }
        for i, tall in enumerate(portrait.tolist(), 1)
    ]
    frequency = 1 / np.arange(1, 81)
    categories = [{"supercategory": "thing", "id": c, "name": f"class {c}"} for c in range(1, 81)]
    classes = rng.choice(80, n_annotations, p=frequency / frequency.sum()) + 1
    crowded = rng.gamma(1.5, size=n_images)  # some images have many instances, some have none
    rows = rng.choice(n_images, n_annotations, p=crowded / crowded.sum())
    outlines = [_outline(rng) for _ in range(TEMPLATES)]
    chosen = rng.integers(TEMPLATES, size=n_annotations).tolist()
    is_crowd = rng.random(n_annotations) < 0.01
    document = {
        "info": {"year": 2014},
        "images": images,
        "licenses": [],
        "categories": categories,
    }
    with path.open("wb") as file:
        file.write(msgspec.json.encode(document)[:-1] + b',"annotations":[')
        columns = zip(rows.tolist(), classes.tolist(), chosen, is_crowd.tolist(), strict=True)
        for number, (row, category, template, crowd) in enumerate(columns, 1):
            shape = _runs(rng, portrait[row]) if crowd else outlines[template]
            file.write(
                b'%s{%s,"iscrowd":%d,"image_id":%d,"category_id":%d,"id":%d}'
                % (b"," if number > 1 else b"", shape, crowd, row + 1, category, number)
            )
        file.write(b"]}")
    return path


def _outline(rng: np.random.Generator) -> bytes:
    """A polygon of COCO's mean length, with its area and box, as JSON."""
    n = int(np.clip(rng.gamma(2.0, 12.0), 4, 200))
    radius = min(rng.lognormal(3.3, 0.9), 230)
    angle, reach = np.sort(rng.random(n)) * 2 * np.pi, radius * rng.uniform(0.6, 1, n)
    centre = rng.uniform(radius, SIDE - radius, 2)
    xy = np.round(centre + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), 2)
    x, y = xy.T
    area = float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 + 1)
    box = [*xy.min(0).tolist(), *(np.ptp(xy, axis=0) + 0.01).tolist()]
    shape = {"segmentation": [xy.ravel().tolist()], "area": area, "bbox": box}
    return msgspec.json.encode(shape)[1:-1]


def _runs(rng: np.random.Generator, portrait: bool) -> bytes:
    """Run lengths of a crowd, as JSON."""
    cuts = np.sort(rng.integers(1, 640 * 480, 400))
    counts = np.diff(cuts, prepend=0, append=640 * 480)
    size = [640, 480] if portrait else [480, 640]
    area = float(counts[1::2].sum())
    segmentation = {"counts": counts.tolist(), "size": size}
    shape = {"segmentation": segmentation, "area": area, "bbox": [0.0, 0.0, size[1], size[0]]}
    return msgspec.json.encode(shape)[1:-1]


def write_pictures(annotations: Path) -> None:
    """A small picture for each image of an annotation file, beside it; none is like another.

    What reads features instead of pixels needs no more, and takes no notice of their size.
    """
    for image in msgspec.json.decode(annotations.read_bytes())["images"]:
        noise = stream(image["id"], "picture").integers(256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(annotations.with_name(image["file_name"]))
