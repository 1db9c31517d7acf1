"""Which annotation files a folder has, in the layouts of COCO and of the tools that export to it.

COCO, CVAT              annotations/instances_*.json
Roboflow                train/_annotations.coco.json beside the images, likewise valid/ and test/
FiftyOne                labels.json, images in data/
Label Studio            result.json, images in images/
labelme2coco, scripts   any other *.json with the lists of COCO, here or one folder deeper
"""

import re
from pathlib import Path

from la.data.pictures.picture_files import is_picture
from la.errors import MissingFile, UserError, no_folder
from la.wording import listed

LISTS = (b'"images"', b'"annotations"', b'"categories"')
PATTERNS = ("annotations/*.json", "*.json", "*/*.json", "*/annotations/*.json")
WORDS = {"train": ("train",), "val": ("test", "val")}  # in a file's path; the first one wins
NO_ANNOTATION = re.compile(rb'"annotations"\s*:\s*\[\s*\]')
FOREIGN = {  # formats by the files that reveal them
    "*.xml": "Pascal VOC",
    "*.ndjson": "Labelbox",
    "*.yaml": "YOLO",
    "*.txt": "YOLO",
    "*.gz": "compressed",
    "*.zip": "compressed",
    "*.json": "LabelMe or another format",
}


def find(data: Path) -> dict[str, Path]:
    """The annotation files of a folder: "train" to train on, "val" to test on.

    A single file is both, and the caller splits it by image. Of a test file and a validation file
    the test file is tested on, unless it has no annotation. Of several releases side by side the
    oldest is taken: the paper's is 2014.

    Raises:
        MissingFile: there is no such folder, or no annotation file in it.
        UserError: there are several, and their names do not say which is which.
    """
    if not data.is_dir():
        raise no_folder(data, "give a folder in COCO format")
    files = annotation_files(data)
    if not files:
        raise MissingFile(f"no annotations/instances_*.json in {data}; {_advice(data)}")
    splits = {}
    for split, words in WORDS.items():
        named = [file for word in words for file in files if _says(file.relative_to(data), word)]
        if not named and len(files) > 1:
            names = listed([str(file.relative_to(data)) for file in files], 5)
            raise UserError(
                f"{data} has no annotation file for {split!r} among {names}; name the files "
                "instances_train*.json and instances_val*.json, or keep only one"
            )
        if len(named) > 1 and _says(named[0].relative_to(data), "test"):
            named = [file for file in named if not NO_ANNOTATION.search(file.read_bytes())] or named
        splits[split] = (named or files)[0]
    return splits


def annotation_files(data: Path) -> list[Path]:
    """All annotation files of a folder that `find` chooses from, sorted."""
    return sorted(data.glob("annotations/instances_*.json")) or _with_coco_lists(data)


def image_root(data: Path, annotations: Path) -> Path:
    """The folder that contains the images of an annotation file, at any depth."""
    beside = annotations.parent
    if beside.name == "annotations":
        beside = beside.parent
    has_images = any(is_picture(path.relative_to(beside)) for path in beside.iterdir())
    return beside if has_images and beside != data else data


def _says(path: Path, word: str) -> bool:
    """Whether a word of a path begins like this: `valid/x.json` says val, `interval.json` no."""
    return re.search(rf"(?<![a-z]){word}", str(path).lower()) is not None


def _with_coco_lists(data: Path) -> list[Path]:
    """JSON files that name the three lists of COCO, of the first pattern that has one."""
    for pattern in PATTERNS:
        files = []
        for path in sorted(data.glob(pattern)):
            content = path.read_bytes()
            if all(name in content for name in LISTS):
                files.append(path)
        if files:
            return files
    return []


def _advice(data: Path) -> str:
    """What to do about a folder without annotations in COCO's format."""
    for pattern, name in FOREIGN.items():
        path = next((path for path in sorted(data.rglob(pattern)) if path.is_file()), None)
        if path is not None:
            return (
                f"{path.relative_to(data)} is not a COCO file ({name}?); export the annotations in "
                "COCO's instance format and put the file there"
            )
    return "put one there"
