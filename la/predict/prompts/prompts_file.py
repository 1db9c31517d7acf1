"""`prompts.json`: a drawing as a COCO file, which the notebook saves and the command line reads.

Each prompt is an annotation, for other programs; the additional field `prompts` holds the vector
prompts of `la.predict.prompts.vector_prompts`. Only that field is read again, so nothing is lost.
"""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from la.errors import MissingFile, UserError
from la.files import write_whole
from la.formats.coco import CocoWriter, geometry
from la.formats.marked import read_json
from la.predict.prompts.drawing import Drawing, DrawnImage, Name
from la.predict.prompts.vector_prompts import VectorPrompt, to_json

HOW = (
    "it needs lists of images, categories and prompts, as draw_prompts.ipynb saves them; "
    "python -m la prompts makes them of other annotations"
)


class _Category(Struct):
    name: Name
    id: int | None = None


class _File(Struct):
    images: tuple[DrawnImage, ...]
    categories: tuple[_Category, ...]
    prompts: tuple[VectorPrompt, ...]


def to_coco(drawing: Drawing) -> dict[str, Any]:
    """The content of `prompts.json`: one annotation per point, per box and per mask."""
    writer = CocoWriter(drawing.classes)
    for image, annotations in zip(drawing.images, drawing.annotations(), strict=True):
        entry = writer.add_image(image.file_name, image.width, image.height)
        entry["role"] = image.role
        for name, prompts in annotations.items():
            for prompt in prompts:
                writer.annotate(drawing.classes.index(name) + 1, geometry(prompt))
    about = "Visual prompts, one annotation each; `prompts` is lossless"
    return {
        "info": {"description": about},
        **writer.content,
        "prompts": to_json(drawing.prompts),
    }


def write(drawing: Drawing, path: Path) -> None:
    """Write `prompts.json`; the paths of the images become relative to its folder."""
    content = to_coco(drawing)
    for entry in content["images"]:
        entry["file_name"] = os.path.relpath(entry["file_name"], path.parent)
    write_whole(path, json.dumps(content))


def from_coco(content: object, where: str = "prompts.json") -> Drawing:
    """The inverse of `to_coco`; `where` names the file in messages.

    Raises:
        UserError: the content is not a COCO file with prompts; the message says which entry.
    """
    try:
        file = msgspec.convert(content, _File, strict=False)  # numbers may be text, or 30.0
        _check_numbers(file.categories)
        names = tuple(category.name for category in file.categories)
        for text in (*names, *(image.file_name for image in file.images)):
            text.encode()
        return Drawing(file.images, names, file.prompts)
    except msgspec.ValidationError as error:
        message = str(error).replace("`$.", "`")
        raise UserError(f"{where}: {message}; {HOW}") from None
    except UnicodeEncodeError:
        raise UserError(f"{where}: a text holds half a character; {HOW}") from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _check_numbers(categories: tuple[_Category, ...]) -> None:
    """Check that ids, where there are any, are the numbers that the prompts and exports use.

    Raises:
        UserError: a class has another id than its place in the list, from 1.
    """
    for number, category in enumerate(categories, 1):
        if category.id not in (None, number):
            raise UserError(
                f"the class {category.name!r} has id {category.id} and is number {number} of the "
                "list `categories`, which its prompts call `cls`; give it that id, or move it"
            )


def read(path: str | Path) -> Drawing:
    """The drawing in a `prompts.json` file.

    Raises:
        MissingFile: there is no such file.
        UserError: the file is in another encoding, not JSON, or not such a file; the message says
            which entry.
    """
    if not Path(path).exists():
        raise MissingFile(f"no file {path}; save a drawing there, or give another path")
    return from_coco(read_json(Path(path)), str(path))
