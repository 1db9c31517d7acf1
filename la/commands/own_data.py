"""Commands for a person's own photographs.

Imports are inside the functions, so that a command loads only what it needs.
"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from la.commands.app import app

# Written out, because a list of options must not import the exporters.
FORMATS = "coco-instances, coco-polygons, coco-instance-polygons, yolo, labelme"
Model = Annotated[str, Option(help="a name that `models` lists, or a file")]


@app.command()
def predict(
    support: Annotated[Path, Option(help="a prompts.json, or a saved support set")],
    images: Annotated[Path, Option(help="a folder of photographs")],
    out: Annotated[Path, Option(help="a folder for the predictions")],
    model: Model = "quick",
    formats: Annotated[
        str, Option("--format", help="further files, joined by , : " + FORMATS)
    ] = "",
) -> None:
    """Segment a folder of photographs: PNG masks with a legend, and COCO."""
    from la.learn.checkpoints import load
    from la.predict.folder import predict_folder
    from la.predict.predictor import Predictor
    from la.predict.support_file import read_classes, read_support

    predictor = Predictor(load(model))
    supports = read_support(predictor, support)
    path = predict_folder(
        predictor,
        supports,
        images,
        out,
        classes=read_classes(support),
        formats=formats.replace(",", " ").split(),
    )
    print(path)


@app.command()
def prompts(
    annotations: Annotated[Path, Argument(help="a COCO or LabelMe file, or a folder")],
    images: Annotated[Path, Option(help="the folder of the annotated photographs")],
    out: Annotated[Path, Option(help="the file to write")] = Path("prompts.json"),
    classes: Annotated[str | None, Option(help="those to take, joined by ,")] = None,
    files: Annotated[str | None, Option(help="the photographs to take, joined by ,")] = None,
) -> None:
    """Make a prompts.json from annotations: COCO, LabelMe, YOLO-seg or PNG masks."""
    from la.predict import prompts_file
    from la.predict.from_annotations import read_annotations

    drawing = read_annotations(
        annotations,
        images,
        classes=classes.split(",") if classes else None,
        files=files.split(",") if files else None,
    )
    prompts_file.write(drawing, out)
    n_images, n_prompts = len(drawing.images), len(drawing.prompts)
    print(f"{out}: {n_prompts} prompts of {', '.join(drawing.classes)} on {n_images} photographs")
