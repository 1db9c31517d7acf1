"""What editor and viewer share: the JavaScript, pixels for the browser, and still pictures."""

import zlib
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from traitlets import List

from la.colours import OKABE_ITO

LONG_SIDE = 1024  # of what the browser gets; prompts and masks keep the original pixels
HERE = Path(__file__).parent
# One module of plain JavaScript; a file uses what those before it define, and there is no bundler.
SOURCES = ("controls.js", "pixels.js", "stage.js", "scene.js", "editor.js", "viewer.js")
MODULE = "\n".join((HERE / name).read_text() for name in SOURCES)


class Widget(anywidget.AnyWidget):
    """A live widget, and a picture for where no kernel runs."""

    _esm = MODULE  # text: a path would be watched, and leak each editor
    _css = (HERE / "widgets.css").read_text()
    palette = List(list(OKABE_ITO)).tag(sync=True)

    def snapshot(self, timeout: float = 0) -> Image.Image:
        """The widget as a still picture, after waiting at most `timeout` seconds for its work."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget, and `snapshot` as it is when the cell runs."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        out, text = BytesIO(), f"{type(self).__name__}, live in JupyterLab: run this cell"
        self.snapshot(timeout=20).quantize(128).save(out, "PNG", optimize=True)
        data = {**data, "image/png": b64encode(out.getvalue()).decode(), "text/plain": text}
        return data, {**metadata, "image/png": {"alt": text}}


def to_browser(image: Image.Image, name: str = "", role: str = "support") -> dict[str, Any]:
    """An image as an item of `PromptEditor.images`: a JPEG whose long side is `LONG_SIDE`."""
    small, out = image.copy(), BytesIO()
    small.thumbnail((LONG_SIDE, LONG_SIDE))
    small.save(out, "JPEG", quality=90, subsampling=0)
    size = {"width": image.width, "height": image.height}
    return {"file_name": name, **size, "role": role, "jpeg": out.getvalue()}


def plane(values: np.ndarray, long_side: int = LONG_SIDE) -> dict[str, Any]:
    """A map (H, W) of bytes for the browser, subsampled like the images and deflated."""
    small = Image.fromarray(np.ascontiguousarray(values, np.uint8))
    shrink = min(1, long_side / max(small.size))
    size = [max(1, round(side * shrink)) for side in small.size]
    small = small.resize(size, Image.Resampling.NEAREST)
    return {"size": size, "data": zlib.compress(small.tobytes(), 1)}


def as_picture(figure: Figure, title: str) -> Image.Image:
    """A figure as pixels, under a line that says where it lives."""
    out = BytesIO()
    figure.suptitle(f"{title}; live in JupyterLab: run this cell", y=1.02, va="bottom", fontsize=10)
    figure.savefig(out, format="png", bbox_inches="tight")
    return Image.open(out).convert("RGB")
