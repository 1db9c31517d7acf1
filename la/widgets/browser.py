"""What editor and viewer have in common: JavaScript, pixels for the browser, still pictures."""

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

from la.colours import PALETTE

LONG_SIDE = 1024  # of images sent to the browser; prompts and masks stay in original pixels
HERE = Path(__file__).parent
# One module of plain JavaScript; a file uses what those before it define, and there is no bundler.
SOURCES = (
    "controls.js",
    "pixels.js",
    "shapes.js",
    "stage.js",
    "scene.js",
    "pen.js",
    "keys.js",
    "classes.js",
    "editor.js",
    "viewer.js",
)
SCRIPTS = [(HERE / name).read_text() for name in SOURCES]
MODULE = "\n".join(SCRIPTS)


class Widget(anywidget.AnyWidget):
    """A live widget, with a still picture for pages without a kernel."""

    _esm = MODULE  # text, because anywidget would watch a path and so leak each editor
    _css = (HERE / "widgets.css").read_text()
    palette = List(list(PALETTE)).tag(sync=True)

    def snapshot(self, timeout: float = 0) -> Image.Image:
        """The widget as a still picture, after waiting at most `timeout` seconds for its work."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget, and `snapshot` as it is when the cell runs."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture = self.snapshot(timeout=20).quantize(128)
        png = BytesIO()
        picture.save(png, "PNG", optimize=True)
        text = f"{type(self).__name__}, live in JupyterLab: run this cell"
        data["image/png"] = b64encode(png.getvalue()).decode()
        data["text/plain"] = text
        metadata["image/png"] = {"alt": text}
        return data, metadata


def to_browser(image: Image.Image, name: str = "", role: str = "support") -> dict[str, Any]:
    """An image as an item of `PromptEditor.images`: a JPEG whose long side is `LONG_SIDE`."""
    small = image.copy()
    small.thumbnail((LONG_SIDE, LONG_SIDE))
    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=90, subsampling=0)
    return {
        "file_name": name,
        "width": image.width,
        "height": image.height,
        "role": role,
        "jpeg": jpeg.getvalue(),
    }


def plane(values: np.ndarray, long_side: int = LONG_SIDE) -> dict[str, Any]:
    """A map (H, W) of bytes for the browser, subsampled like the images and deflated."""
    whole = Image.fromarray(np.ascontiguousarray(values, np.uint8))
    shrink = min(1, long_side / max(whole.size))
    width = max(1, round(whole.width * shrink))
    height = max(1, round(whole.height * shrink))
    small = whole.resize((width, height), Image.Resampling.NEAREST)
    deflated = zlib.compress(small.tobytes(), 1)
    return {"size": [width, height], "data": deflated}


def as_picture(figure: Figure, title: str) -> Image.Image:
    """A figure as pixels, with a title that says how to get the live widget."""
    text = f"{title}; live in JupyterLab: run this cell"
    figure.suptitle(text, y=1.02, va="bottom", fontsize=10)
    png = BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    return Image.open(png).convert("RGB")
