"""What exporters write differently changes no episode and no mask."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from la.config import Protocol
from la.data.dataset import Data, open_data
from la.data.sampling.episodes import EpisodeSampler, episode_list, list_sha256
from la.rng import stream

HEIGHT, WIDTH = 20, 30


def base(images: Path) -> dict:
    """24 images with two rectangles each, of 8 classes."""
    images.mkdir(parents=True)
    content: dict = {"images": [], "annotations": [], "categories": []}
    for i in range(1, 25):
        noise = stream(i, "picture").integers(256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / f"img {i:02}.png")
        image = {"id": i, "file_name": f"img {i:02}.png", "width": WIDTH, "height": HEIGHT}
        content["images"].append(image)
        for k in (0, 1):
            x = 3 + 12 * k
            content["annotations"].append(
                {
                    "id": 2 * i + k,
                    "image_id": i,
                    "category_id": 1 + (i * (k + 1)) % 8,
                    "segmentation": [[x, 4, x + 9, 4, x + 9, 13, x, 13]],
                    "bbox": [x, 4, 9, 9],
                    "area": 81,
                    "iscrowd": 0,
                }
            )
    for c, name in enumerate(("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")):
        content["categories"].append({"id": c + 1, "name": name, "supercategory": ""})
    return content


def each(name, change):
    """Change every entry of a list."""

    def edit(content):
        for entry in content[name]:
            change(entry)

    return edit


def without(*fields):
    return lambda entry: [entry.pop(field) for field in fields]


def having(**values):
    return lambda entry: entry.update(values)


def ids_as_text(content):
    for name in ("images", "annotations", "categories"):
        for entry in content[name]:
            for field in ("id", "image_id", "category_id"):
                if field in entry:
                    entry[field] = str(entry[field])


def ids_per_image(content):
    for annotation in content["annotations"]:
        annotation["id"] %= 2


def compressed(annotation):
    ring = annotation["segmentation"]
    runs = coco_mask.merge(coco_mask.frPyObjects(ring, HEIGHT, WIDTH))
    annotation["segmentation"] = {"size": runs["size"], "counts": runs["counts"].decode()}


def printed_bytes(annotation):
    compressed(annotation)
    text = annotation["segmentation"]["counts"].encode()
    annotation["segmentation"]["counts"] = str(text)


def reversed_lists(content):
    for name in ("images", "categories"):
        content[name].reverse()


def rename(change):
    return each("images", lambda image: image.update(file_name=change(image["file_name"])))


HARMLESS = {
    "no box": each("annotations", without("bbox")),
    "no box and no area": each("annotations", without("bbox", "area", "iscrowd")),
    "box null": each("annotations", having(bbox=None)),
    "box empty": each("annotations", having(bbox=[])),
    "area zero": each("annotations", having(area=0)),
    "area text": each("annotations", having(area="81")),
    "area null": each("annotations", having(area=None)),
    "ids restart in each image": ids_per_image,
    "ids all zero": each("annotations", having(id=0)),
    "no ids of annotations": each("annotations", without("id")),
    "ids as text": ids_as_text,
    "sizes as floats": each("images", having(width=float(WIDTH), height=float(HEIGHT))),
    "sizes as text": each("images", having(width=str(WIDTH), height=f"{HEIGHT}.0")),
    "flat polygon": each("annotations", lambda a: a.update(segmentation=a["segmentation"][0])),
    "polygon of texts": each(
        "annotations", lambda a: a.update(segmentation=[list(map(str, a["segmentation"][0]))])
    ),
    "compressed runs": each("annotations", compressed),
    "runs as printed bytes": each("annotations", printed_bytes),
    "crowd as text": each("annotations", having(iscrowd="0")),
    "lists in another order": reversed_lists,
    "names in capitals": rename(str.upper),
    "names as addresses": rename(lambda name: name.replace(" ", "%20")),
    "names with a narrow space": rename(lambda name: name.replace(" ", "\u202f")),
    "names with spaces around": rename(lambda name: f" {name}\n"),
    "names as addresses of a server": rename(
        lambda name: f"https://host/set/{name}?key=a/b.png".replace(" ", "%20")
    ),
    "names as addresses of a store": rename(lambda name: f"s3://bucket/images/{name}"),
    "paths of Label Studio": rename(lambda name: f"../../label-studio/data/upload/1/{name}"),
    "names with folders": rename(lambda name: f"images/{name}"),
    "names with backslashes": rename(lambda name: f".\\images\\{name}"),
    "paths of another machine": rename(lambda name: f"C:\\ann\\set\\images\\{name}"),
    "extra entries": lambda content: content.update(info={}, licenses=[], videos=[1]),
    "images without a file": lambda content: content["images"].extend(
        {"id": i, "file_name": f"{i}.png", "width": 3, "height": 2} for i in range(100, 130)
    ),
    "classes that nothing uses": lambda content: content["categories"].extend(
        {"id": i, "name": f"unused {i}"} for i in range(50, 60)
    ),
}


def opened(folder: Path, content: dict, **options) -> Data:
    (folder / "annotations").mkdir(exist_ok=True)
    text = json.dumps(content, **options)
    (folder / "annotations/instances_default.json").write_text(text, encoding="utf-8")
    return open_data(folder, folder.parent / "cache")


def facts(data: Data) -> list:
    """Episodes, masks and pixels: all that a score depends on."""
    sampler = EpisodeSampler(data.test, [1, 2, 3, 4, 5, 6, 7, 8], Protocol(small_area=0), [(2, 1)])
    episodes = episode_list(sampler, n_ways=2, k_shots=1, episodes=40, seed=0)
    masks = [data.test.mask(a).tobytes() for a in range(len(data.test.annotation_area))]
    pixels = [data.test.read_image(i).tobytes() for i in data.test.image_ids.tolist()]
    boxes = data.test.annotation_box.round(3).tolist()
    return [list_sha256(episodes), masks, pixels, boxes, data.test.category_names]


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_oddity_changes_nothing(tmp_path, name):
    content = base(tmp_path / "data/images")
    expected = facts(opened(tmp_path / "data", content))
    HARMLESS[name](content)
    assert facts(opened(tmp_path / "data", content)) == expected


def test_escaped_and_plain_unicode_are_one_file(tmp_path):
    content = base(tmp_path / "data/images")
    content["categories"][0]["name"] = "f\u00fc\u00df\u3000\u732b"
    first = facts(opened(tmp_path / "data", content, ensure_ascii=True))
    assert facts(opened(tmp_path / "data", content, ensure_ascii=False)) == first


@pytest.mark.parametrize("folder", ["masks", "labels"])
def test_masks_beside_the_images_change_nothing(tmp_path, folder):
    content = base(tmp_path / "data/images")
    expected = facts(opened(tmp_path / "data", content))
    (tmp_path / "data" / folder).mkdir()
    for image in content["images"]:
        Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "data" / folder / image["file_name"])
    assert facts(opened(tmp_path / "data", content)) == expected
