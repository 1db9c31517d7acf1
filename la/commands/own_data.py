"""Commands for a person's own photographs.

Imports are inside the functions, so that a command loads only what it needs.
"""

from pathlib import Path
from typing import Annotated

from typer import Option

from la.commands.app import app

Model = Annotated[str, Option(help="a name that `models` lists, or a file")]


@app.command()
def predict(
    support: Annotated[Path, Option(help="a prompts.json, or a saved support set")],
    images: Annotated[Path, Option(help="a folder of photographs")],
    out: Annotated[Path, Option(help="a folder for the predictions")],
    model: Model = "quick",
) -> None:
    """Segment a folder of photographs."""
    from la.learn.checkpoints import load
    from la.predict.folder import predict_folder
    from la.predict.predictor import Predictor
    from la.predict.support_file import read_classes, read_support

    predictor = Predictor(load(model))
    supports = read_support(predictor, support)
    print(predict_folder(predictor, supports, images, out, classes=read_classes(support)))
