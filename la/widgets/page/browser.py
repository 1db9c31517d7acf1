"""What editor and viewer have in common: JavaScript, pixels for the browser, still pictures."""

import zlib
from base64 import b64encode
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from traitlets import List, Unicode

from la.colours import PALETTE

HERE = Path(__file__).parent
LONG_SIDE = 1024  # of what the browser gets; prompts and exported masks keep the original pixels
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
    "answer.js",
    "review.js",
    "../viewer/truth.js",
    "models.js",
    "../photographs/photos.js",
    "../saved/keeping.js",
    "../saved/history.js",
    "editor.js",
    "../viewer/viewer.js",
)
SCRIPTS = [(HERE / name).read_text() for name in SOURCES]
MODULE = "\n".join(SCRIPTS)
DIGEST = sha256(MODULE.encode()).hexdigest()[:16]


class Widget(anywidget.AnyWidget):
    """A live widget, with a still picture for pages without a kernel."""

    # Text, because anywidget would watch a path and so leak each editor.
    _esm = (HERE / "loader.js").read_text()
    _css = (HERE / "widgets.css").read_text()
    code = Unicode(MODULE).tag(sync=True)  # loader.js imports it once in a page
    digest = Unicode(DIGEST).tag(sync=True)
    palette = List(list(PALETTE)).tag(sync=True)
    address = Unicode().tag(sync=True)  # by which loader.js finds the widget's model in the page

    def open(self) -> None:
        """Connect to the page, whose messages are read while a cell runs.

        JupyterLab addresses them to a subshell. ipykernel 7.4 would read them in the thread that
        sent the last message to the page, which after a change by a cell is the one of cells.
        """
        if self.comm is None:
            self.address = self._model_id = uuid4().hex
        super().open()
        if self.comm is not None:
            self.comm._reply_subshell_for = None

    def close(self) -> None:
        """Close the widget, then its layout, whose view would keep this one in the page.

        JupyterLab keeps the last state of a closed widget and the one before it, so the code and
        the style are taken out of both.
        """
        if self.comm is None:
            return
        self._css = ""  # the page keeps the style for other widgets
        self.code = ""
        self.digest = ""
        super().close()
        self.layout.close()

    def snapshot(self, timeout: float = 0) -> Image.Image:
        """The widget as a still picture, after waiting at most `timeout` seconds for its work."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget, and `snapshot` as it is when the cell runs."""
        still, metadata = self.still(self.snapshot(timeout=20))
        return {**self.live(**kwargs), **still}, metadata

    def live(self, **kwargs: Any) -> dict[str, Any]:
        """What a frontend with a kernel displays."""
        data, _ = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": self._text}

    def still(self, picture: Image.Image) -> tuple[dict[str, Any], dict[str, Any]]:
        """The picture as an output of the notebook, with its metadata."""
        png = BytesIO()
        picture.quantize(128).save(png, "PNG", optimize=True)
        data = {"image/png": b64encode(png.getvalue()).decode(), "text/plain": self._text}
        # Jupyter gives such an image a CSS class, which widgets.css selects.
        return data, {"image/png": {"alt": self._text}, "needs_background": "light"}

    @property
    def _text(self) -> str:
        return f"{type(self).__name__}, live in JupyterLab: run this cell"


def to_browser(image: Image.Image) -> dict[str, Any]:
    """An image of `PredictionViewer.episode`: a JPEG whose long side is `LONG_SIDE`."""
    small = image.copy()
    small.thumbnail((LONG_SIDE, LONG_SIDE))
    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=90, subsampling=0)
    return {
        "width": image.width,
        "height": image.height,
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
