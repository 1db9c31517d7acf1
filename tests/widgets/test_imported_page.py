"""Annotations of a COCO file, drawn by the editor as pycocotools decodes them."""

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from test_editor_page import Desk, state
from widget_page import photo

from la.predict.prompts.from_annotations import read_annotations
from la.predict.prompts.vector_prompts import to_json

pytestmark = pytest.mark.browser

SIZE = (240, 320)  # (H, W)
DRAWN = """() => {
    const canvas = document.querySelector("canvas[aria-label='Support image']");
    const [, x, y] = canvas.dataset.view.split(",").map(Number);
    return [...canvas.getContext("2d").getImageData(x, y, 320, 240).data];
}"""


def ring(centre: tuple[int, int], outer: int, inner: int) -> np.ndarray:
    """(H, W) bool: a disc with a hole."""
    y, x = np.ogrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(x - centre[0], y - centre[1])
    return (distance < outer) & (distance >= inner)


def runs(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO writes a crowd: run lengths down the columns, background first."""
    changes = np.flatnonzero(np.diff(mask.ravel(order="F").astype(int), prepend=0))
    counts = np.diff(changes, prepend=0, append=mask.size)
    return {"size": list(SIZE), "counts": counts.tolist()}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    encoded: Any = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(SIZE), "counts": encoded["counts"].decode()}


@pytest.fixture
def source(tmp_path):
    """One black photograph: parts, a ring, a crowd with holes, and a ring in another class."""
    (tmp_path / "images").mkdir()
    photo(320, 240).point(lambda _: 0).save(tmp_path / "images" / "a.png")
    crowd = np.zeros(SIZE, bool)
    crowd[150:230, 20:150] = True
    crowd[160:170, 30:40] = crowd[200:215, 60:140] = False
    parts = [[10, 10, 60.4, 12.7, 40, 60.2], [70, 20, 95.5, 20, 95.5, 44.5, 70, 44.5]]
    shapes = [
        (1, 0, parts),
        (1, 0, compressed(ring((130, 80), 40, 18))),
        (1, 1, runs(crowd)),
        (2, 0, runs(ring((240, 100), 60, 25))),
        (2, 0, [[200, 180, 310, 170.5, 290.25, 235, 215, 226]]),
    ]
    annotations = [
        {"id": number, "image_id": 1, "category_id": category, "iscrowd": crowd_, "area": 1}
        | {"segmentation": shape, "bbox": [0, 0, 320, 240]}
        for number, (category, crowd_, shape) in enumerate(shapes, 1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 240, "width": 320}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": annotations,
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return tmp_path


def test_imported_masks_are_drawn_with_the_pixels_that_pycocotools_decodes(page, source):
    drawing = read_annotations(source / "coco.json", source / "images")
    prompts = to_json(drawing.prompts)
    black = photo(320, 240).point(lambda _: 0)
    desk = Desk(page, state(black, classes=drawing.classes, prompts=prompts))
    page.get_by_label("Opacity").evaluate(
        "(e) => { e.value = 1; e.dispatchEvent(new Event('input')) }"
    )
    pixels = np.array(page.evaluate(DRAWN)).reshape(*SIZE, 4)[..., :3]
    lit = pixels.sum(2) > 60  # the darkest line of a pattern has more, the outline less
    orange = pixels[..., 0] > pixels[..., 2]
    coco = COCO(source / "coco.json")
    for category, shown in ((1, lit & orange), (2, lit & ~orange)):
        expected = np.zeros(SIZE, bool)
        for annotation in coco.loadAnns(coco.getAnnIds(catIds=[category])):
            expected |= coco.annToMask(annotation).astype(bool)
        assert expected.sum() > 5000
        assert np.array_equal(shown, expected)
    assert desk.prompts == prompts
