"""Seconds that a model takes to encode an image on this machine, measured once and kept."""

import json
import time
from contextlib import suppress

from PIL import Image

from la import folders
from la.files import write_whole
from la.predict.predictor import Predictor

FILE = "seconds_an_image.json"  # in the cache folder, by the model's name
PHOTOGRAPH = (640, 480)  # the usual size in COCO


def kept() -> dict[str, float]:
    """Seconds per image of the models that were timed on this machine, by name."""
    try:
        return json.loads((folders.HOME / "cache" / FILE).read_text())
    except (OSError, ValueError):  # nothing is measured yet, or the file is damaged
        return {}


def measure(predictor: Predictor) -> float:
    """Seconds per image of a model: the value kept from an earlier call, or one image timed now."""
    name = predictor.card.name
    paces = kept()
    if name not in paces:
        image = Image.new("RGB", PHOTOGRAPH, "grey")
        started = time.perf_counter()
        predictor.encode(image)
        paces[name] = round(time.perf_counter() - started, 2)
        with suppress(OSError):  # where nothing can be written, the next call measures again
            write_whole(folders.HOME / "cache" / FILE, json.dumps(paces))
    return paces[name]
