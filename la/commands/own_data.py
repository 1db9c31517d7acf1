"""Commands for a person's own photographs.

Imports are inside the functions, so that a command loads only what it needs.
"""

from pathlib import Path
from typing import Annotated

from typer import Option

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
