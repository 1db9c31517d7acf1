"""Commands for the user's own photographs.

Imports are inside the functions, so that a command loads only what it needs.
"""

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from la.commands.app import app
from la.commands.options import AdaptSteps, names
from la.errors import UserError
from la.wording import counted, listed

# Written out here, so that the help of a command need not import the exporters.
FORMATS = "coco-instances, coco-polygons, coco-instance-polygons, yolo, labelme"
SEPARATED = ", separated by commas; a name that contains a comma, in double quotes"
Model = Annotated[str, Option(help="a name that `models` lists, or a file")]


@app.command()
def predict(
    support: Annotated[Path, Option(help="a prompts.json, or a saved support set")],
    images: Annotated[Path, Option(help="a folder of photographs")],
    out: Annotated[Path, Option(help="a folder for the predictions")],
    model: Model = "photos",
    adapt_steps: AdaptSteps = 0,
    formats: Annotated[
        str, Option("--format", help="further files, separated by commas: " + FORMATS)
    ] = "",
    truth: Annotated[
        Path | None, Option(help="a COCO file of the photographs, for the IoU of each")
    ] = None,
) -> None:
    """Segment a folder of photographs; write PNG masks with a legend, and a COCO file."""
    from la.data.coco.index import CocoIndex
    from la.learn.weights.checkpoints import load
    from la.predict.folder import photos_to_segment, predict_folder
    from la.predict.predictor import Predictor
    from la.predict.support_file import read_classes, read_pictures, read_support

    photos_to_segment(images, out)  # raises before a model is loaded
    predictor = Predictor(load(model))
    supports = read_support(predictor, support, adapt_steps)
    path = predict_folder(
        predictor,
        supports,
        images,
        out,
        classes=read_classes(support),
        formats=formats.replace(",", " ").split(),
        truth=CocoIndex.from_json(truth, images) if truth else None,
        support_pictures=read_pictures(support),
    )
    print(path)


def evaluate_support(
    support: Path,
    data: Path | None,
    model: Path | None,
    adapt_steps: int,
) -> None:
    """Print the scores of a support set on an annotated folder, as JSON.

    Raises:
        MissingFile, UserError: see `Predictor.evaluate`.
    """
    from la.learn.weights.checkpoints import load
    from la.predict.predictor import Predictor

    if data is None:
        raise UserError("--support needs --data, a folder in COCO format with the true masks")
    predictor = Predictor(load(str(model or "photos")))
    evaluation = predictor.evaluate(support, data, adapt_steps=adapt_steps)
    print(json.dumps(evaluation.to_json(), ensure_ascii=False, indent=1))


@app.command()
def prompts(
    annotations: Annotated[Path, Argument(help="a COCO or LabelMe file, or a folder")],
    images: Annotated[Path, Option(help="the folder of the annotated photographs")],
    out: Annotated[Path, Option(help="the file to write")] = Path("prompts.json"),
    classes: Annotated[str | None, Option(help="those to take" + SEPARATED)] = None,
    files: Annotated[str | None, Option(help="the photographs to take" + SEPARATED)] = None,
) -> None:
    """Make a prompts.json from annotations: COCO, LabelMe, YOLO-seg or PNG masks."""
    from la.files import check_writable
    from la.predict.prompts import prompts_file
    from la.predict.prompts.from_annotations import read_annotations

    check_writable(out)
    drawing = read_annotations(
        annotations,
        images,
        classes=names(classes) or None,
        files=names(files) or None,
    )
    prompts_file.write(drawing, out)
    rows = sorted({prompt.cls for prompt in drawing.prompts})
    shown = listed([drawing.classes[row - 1] for row in rows], 10)
    prompted = counted(len(drawing.prompts), "prompt")
    print(f"{out}: {prompted} on {counted(len(drawing.images), 'photograph')}: {shown}")
