"""PromptEditor: draw prompts on support images in JupyterLab, see the query segmented (paper 3.1).

The browser keeps tools, zoom and undo and sends vector prompts (`la.data.drawn`). Python encodes
each image once, predicts in one background thread where the newest prompts win, and sends a label
map back.
"""

import json
import os
import threading
import time
import zlib
from base64 import b64encode
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from traitlets import Dict, Int, List, TraitError, Unicode, validate

from la.colours import OKABE_ITO
from la.data import drawn
from la.data.example import example_episode
from la.data.photos import open_photo, to_drawn
from la.plotting import SupportPicture, draw_labels, draw_support

LONG_SIDE = 1024  # of what the browser gets; prompts and masks keep the original pixels
HERE = Path(__file__).parent


@dataclass
class Photo:
    """An image at its original size, and what the predictor made of it."""

    name: str
    role: str  # "support" or "query"
    image: Image.Image  # RGB, upright
    path: Path | None = None
    encoded: Any = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.height, self.image.width

    @classmethod
    def open(cls, source, role: str, name: str) -> "Photo":
        """Anything that `la.data.photos.open_photo` takes; `name` is for what is no path."""
        path = Path(source) if isinstance(source, str | Path) else None
        return cls(path.name if path else name, role, open_photo(source), path)


def jpeg(image: Image.Image) -> bytes:
    """The image for the browser: long side at most `LONG_SIDE`."""
    small, out = image.copy(), BytesIO()
    small.thumbnail((LONG_SIDE, LONG_SIDE))
    small.save(out, "JPEG", quality=90, subsampling=0)
    return out.getvalue()


def plane(values: np.ndarray, long_side: int = LONG_SIDE) -> dict:
    """A map (H, W) of bytes for the browser, subsampled like `jpeg` and deflated."""
    small = Image.fromarray(np.ascontiguousarray(values, np.uint8))
    shrink = min(1, long_side / max(small.size))
    if shrink < 1:
        size = [max(1, round(side * shrink)) for side in small.size]
        small = small.resize(size, Image.Resampling.NEAREST)
    return {"size": list(small.size), "data": zlib.compress(small.tobytes(), 1)}


class PromptEditor(anywidget.AnyWidget):
    """Points, boxes, brush, eraser and lasso for several classes on several images, live.

    `predictor` has `encode(image)`, `support([(encoded, {class: prompts}), ...])`,
    `predict(encoded, support)` and `describe()`, as `la.predictor.Predictor`; without one the
    editor draws and saves only. `prompts` gets and sets plain data, `classes` the names.

    Raises:
        ValueError: an image cannot be read.
        TraitError: classes or prompts do not fit.
    """

    _esm = (HERE / "editor.js").read_text()  # text: a path would be watched, and leak each editor
    _css = (HERE / "editor.css").read_text()
    view = Unicode("editor").tag(sync=True)
    palette = List(list(OKABE_ITO)).tag(sync=True)
    images = List().tag(sync=True)  # file_name, original width and height, role, jpeg
    classes = List(Unicode()).tag(sync=True)
    prompts = List(Dict()).tag(sync=True)
    query = Int(-1).tag(sync=True)  # the image that is segmented
    seq = Int(0).tag(sync=True)  # counts what the browser sent; `ack` says that it arrived
    ack = Int(0).tag(sync=True)
    status = Dict({"state": "idle", "text": ""}).tag(sync=True)
    overlay = Dict().tag(sync=True)
    about = Unicode("no model: prompts can be drawn and saved").tag(sync=True)

    def __init__(
        self, support=(), queries=(), classes=("object",), prompts=(), predictor=None
    ) -> None:
        self._lock = threading.RLock()  # over _photos with prompts, _dirty and _worker
        self._photos: list[Photo] = []
        self._dirty, self._worker, self._support = False, None, None
        self._labels = np.zeros((1, 1), np.uint8)
        self._predictor = None  # until all is shown: what it would be asked is asked once
        super().__init__()
        sources = [("support", image) for image in support] + [("query", q) for q in queries]
        photos = [Photo.open(s, role, f"{role}-{i}.png") for i, (role, s) in enumerate(sources, 1)]
        self._show(photos, classes, prompts)
        self.observe(self._changed, ["prompts", "classes", "query", "images"])
        self.observe(lambda change: self.set_trait("ack", change.new), "seq")
        self.on_msg(self._on_message)
        self.predictor = predictor

    def _show(self, photos: list[Photo], classes, prompts) -> None:
        with self._lock, self.hold_sync(), self.hold_trait_notifications():
            self._photos = photos
            entries = zip(self.drawing.images, photos, strict=True)
            self.images = [asdict(entry) | {"jpeg": jpeg(p.image)} for entry, p in entries]
            self.classes, self.prompts, self.overlay = list(classes), list(prompts), {}
            self.query = next((i for i, p in enumerate(photos) if p.role == "query"), -1)

    @validate("classes", "prompts")
    def _fit(self, proposal):
        proposed = {"classes": self.classes, "prompts": self.prompts}
        proposed[proposal.trait.name] = proposal.value
        names = proposed["classes"]
        if not all(names) or len(set(names)) < len(names) or len(names) > 254:
            raise TraitError(f"classes need different names, at most 254; got {names}")
        try:
            args = proposed["prompts"], self.drawing.images, len(names)
            proposed["prompts"] = drawn.check_prompts(*args)
        except ValueError as error:
            raise TraitError(str(error)) from None
        return proposed[proposal.trait.name]

    @property
    def drawing(self) -> drawn.Drawing:
        """Images, classes and prompts as a value."""
        images = (drawn.DrawnImage(p.name, *p.image.size, p.role) for p in self._photos)
        return drawn.Drawing(tuple(images), tuple(self.classes), tuple(self.prompts))

    @property
    def photos(self) -> list[Image.Image]:
        """The images at their original sizes, as `images` lists them."""
        return [photo.image for photo in self._photos]

    @property
    def predictor(self):
        """What segments the query; setting another one encodes the images anew."""
        return self._predictor

    @predictor.setter
    def predictor(self, predictor) -> None:
        with self._lock:
            self._predictor = predictor
            self._photos = [replace(photo, encoded=None) for photo in self._photos]
        if predictor is not None:
            self.about = "{name} · {hash} · trained on {trained_on}".format(**predictor.describe())
        self._changed()

    @property
    def support(self):
        """The predictor's value for the prompts; RuntimeError says why there is none."""
        self.wait()
        if self._support is None:
            raise RuntimeError(f"no support: {self.status['text'] or self.about}")
        return self._support

    def to_coco(self) -> dict:
        """The content of `prompts.json` (`la.data.drawn`)."""
        return drawn.to_coco(self.drawing)

    def from_coco(self, data: dict, folder: str | Path = ".") -> None:
        """Show what `to_coco` gave; images that the editor does not hold are opened in `folder`.

        Raises:
            ValueError: the data or an image do not fit; says which.
        """
        drawing, known = drawn.from_coco(data), {p.name: p for p in self._photos}
        photos = []
        for entry in drawing.images:
            path = Path(folder, entry.file_name)
            photo = known.get(path.name) or Photo.open(path, entry.role, "")
            if photo.image.size != (entry.width, entry.height):
                raise ValueError(f"{path} is not {entry.width} x {entry.height}, as it was")
            photos.append(replace(photo, role=entry.role))
        self._show(photos, drawing.classes, drawing.prompts)

    def load(self, path: str | Path = "prompts.json") -> None:
        """`from_coco` of a file; image names are relative to it."""
        drawing = drawn.read(path)
        self.from_coco(drawn.to_coco(drawing), Path(path).parent)

    def save(self, path: str | Path = "prompts.json") -> Path:
        """Write `prompts.json`, and beside it the images that no file holds yet."""
        path, data = Path(path), self.to_coco()
        path.parent.mkdir(parents=True, exist_ok=True)
        for i, (photo, entry) in enumerate(zip(self._photos, data["images"], strict=True), 1):
            if photo.path is None:
                photo.path = path.parent / f"{i}-{Path(photo.name).stem}.png"
                photo.image.save(photo.path)
                photo.name = photo.path.name
            entry["file_name"] = os.path.relpath(photo.path, path.parent)
        path.write_text(json.dumps(data), encoding="utf-8")
        return path

    def export(self, folder: str | Path = "masks") -> Path:
        """Write drawn and predicted masks: a palette PNG an image, `masks.json` (COCO RLE)."""
        folder, drawing, found = Path(folder), self.drawing, []
        folder.mkdir(parents=True, exist_ok=True)
        for img, (photo, prompts) in enumerate(
            zip(self._photos, drawn.annotate(drawing), strict=True)
        ):
            labels = np.zeros(photo.image.size[::-1], np.uint8)
            if photo.role == "query" and self._predictor is not None:
                support = self.support  # waits for the encodings
                labels = _rows(self._predictor.predict(photo.encoded, support), drawing.classes)
            for n, name in enumerate(drawing.classes, 1):
                for mask in (p for p in prompts.get(name, ()) if isinstance(p, np.ndarray)):
                    labels[mask] = n
                found.append(drawn.mask_prompt(labels == n, img, n))
            drawn.palette_png(labels).save(folder / f"{img + 1}-{Path(photo.name).stem}.png")
        masks = drawn.to_coco(replace(drawing, prompts=tuple(found)))
        (folder / "masks.json").write_text(json.dumps(masks), encoding="utf-8")
        return folder

    def load_example(self, seed: int = 0) -> None:
        """Show two generated supports with prompts of all kinds, and a query."""
        found = example_episode(seed)
        sources = [("support", image) for image, _ in found.examples] + [("query", found.query)]
        photos = [Photo.open(s, r, f"example-{i}.png") for i, (r, s) in enumerate(sources, 1)]
        prompts = [
            prompt
            for img, (_, classes) in enumerate(found.examples)
            for name, given in classes.items()
            for prompt in drawn.prompts_of(given, img, found.class_names.index(name) + 1)
        ]
        self._show(photos, found.class_names, prompts)

    def _add(self, name: str, role: str, content: bytes) -> None:
        try:
            photo = Photo.open(Image.open(BytesIO(content)), role, name)
        except Exception as error:  # decoders raise whatever a damaged file leads them to
            raise ValueError(
                f"{name} cannot be read as an image ({error}); use JPEG or PNG"
            ) from None
        self._show([*self._photos, photo], self.classes, self.prompts)

    def set_state(self, sync_data) -> None:
        """A message of the browser; what is wrong with it is said in the status line."""
        try:
            super().set_state(sync_data)
        except TraitError as error:
            self._say("error", str(error))

    def _say(self, state: str, text: str) -> None:
        self.status = {"state": state, "text": text}

    def _on_message(self, _widget, content: dict, buffers) -> None:
        try:
            if content["do"] == "save":
                self._say("done", f"Saved {len(self.prompts)} prompts in {self.save()}")
            elif content["do"] == "export":
                self._say("done", f"Masks of all images are in the folder {self.export()}")
            elif content["do"] == "load":
                self.load()
                self._say("done", f"Loaded {len(self.prompts)} prompts from prompts.json")
            elif content["do"] == "example":
                self.load_example()
            elif content["do"] == "add":
                self._add(content["name"], content["role"], bytes(buffers[0]))
        except Exception as error:  # whatever it is: the notebook would hide it from the reader
            self._say("error", f"{content.get('do')} failed: {error}")

    def _changed(self, _change=None) -> None:
        """There is work; the one worker runs already and will see it, or starts."""
        with self._lock:
            self._dirty = self._predictor is not None
            if self._dirty and self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._worker.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Until the prediction belongs to the prompts; False if that takes longer (seconds)."""
        worker = self._worker
        if worker is not None:
            worker.join(timeout)
        return self._worker is None

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._dirty:
                    self._worker = None
                    return
                self._dirty, drawing, photos = False, self.drawing, list(self._photos)
                query, seq = self.query, self.seq
            try:
                self._predict(drawing, photos, query, seq)
            except Exception as error:  # in a thread nobody would see it
                self._support, self.overlay = None, {}
                self._say("error", f"Prediction failed: {type(error).__name__}: {error}")

    def _predict(self, drawing: drawn.Drawing, photos: list[Photo], query: int, seq: int) -> None:
        predictor, start = self._predictor, time.perf_counter()
        for i, photo in enumerate(photos, 1):
            if photo.encoded is None:
                self._say("busy", f"Encoding image {i} of {len(photos)}: {photo.name}")
                photo.encoded = predictor.encode(photo.image)
        encoded, start = time.perf_counter() - start, time.perf_counter()
        annotated = zip(photos, drawn.annotate(drawing), strict=True)
        examples = [(photo.encoded, prompts) for photo, prompts in annotated if prompts]
        self._support = predictor.support(examples) if examples else None
        if not examples or query < 0:
            wanted = "a query image" if examples else "a prompt on a support image"
            self.overlay = {}
            return self._say("idle", f"Waiting for {wanted}")
        prediction = predictor.predict(photos[query].encoded, self._support)
        took = f"Segmented {photos[query].name} in {(time.perf_counter() - start) * 1e3:.0f} ms"
        self._labels = _rows(prediction, drawing.classes)
        self.overlay = {"img": query, "seq": seq, **plane(self._labels)}
        self._say("done", took + (f", encoded in {encoded:.1f} s" if encoded > 0.05 else ""))

    def snapshot(self, timeout: float = 60) -> Image.Image:
        """The editor as a picture: supports with prompts, the query with its label map."""
        self.wait(timeout)
        drawing, overlay = self.drawing, self.overlay
        shown = [i for i, p in enumerate(self._photos) if p.role == "support" or i == self.query]
        figure = Figure((2.6 * max(1, len(shown)), 3), dpi=80, layout="constrained")
        figure.suptitle("Live in JupyterLab: run this cell and draw", fontsize=10)
        annotated = drawn.annotate(drawing)
        for place, i in enumerate(shown, 1):
            photo, axes = self._photos[i], figure.add_subplot(1, len(shown), place)
            if i == self.query:
                known = overlay.get("img") == i
                draw_labels(axes, photo.image, self._labels if known else np.zeros(photo.size, int))
            else:
                rows = {drawing.classes.index(n) + 1: p for n, p in annotated[i].items()}
                marks = {row: to_drawn(p, photo.size, photo.name) for row, p in rows.items()}
                draw_support(axes, SupportPicture(photo.image, marks))
            axes.set_title(f"{photo.role}: {photo.name}", fontsize=8)
            axes.axis("off")
        out = BytesIO()
        figure.savefig(out, format="png")
        return Image.open(out)

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and the picture for where no kernel runs; taken when the cell runs."""
        bundle = super()._repr_mimebundle_(**kwargs)
        return static_form(bundle, self.snapshot(timeout=5), "PromptEditor")

    def close(self) -> None:
        """Remove the editor and let its images, encodings and model go."""
        with self._lock:
            self._photos, self._predictor, self._support, self._dirty = [], None, None, False
            self._labels = np.zeros((1, 1), np.uint8)
        super().close()


def _rows(prediction, classes: tuple[str, ...]) -> np.ndarray:
    """The label map (H, W) in rows of the editor's classes; unprompted ones are not predicted."""
    rows = [0, *(classes.index(name) + 1 for name in prediction.class_names)]
    return np.array(rows, np.uint8)[np.asarray(prediction.labels)]


def static_form(bundle, picture: Image.Image, name: str):
    """A widget's mime bundle with a picture for where no kernel runs; live, the widget wins."""
    out = BytesIO()
    picture.convert("RGB").quantize(128).save(out, "PNG", optimize=True)
    text = f"{name}, live in JupyterLab: run this cell"
    png = b64encode(out.getvalue()).decode()
    alt = {**bundle[1], "image/png": {"alt": text}}
    return {**bundle[0], "image/png": png, "text/plain": text}, alt
