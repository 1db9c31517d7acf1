"""PromptEditor: draw prompts on support images in JupyterLab, see the query segmented (paper 3.1).

The browser keeps tools, zoom and undo and sends vector prompts (`la.predict.drawing`). Python
encodes each image once, predicts in one background thread where the newest prompts win, and sends
a label map back.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from PIL import Image
from traitlets import Bunch, Int, TraitError, Unicode, observe

from la.predict import drawing as drawn
from la.predict.example import example_episode
from la.predict.photos import Photo as Source
from la.predict.photos import to_drawn
from la.report.pictures import EpisodePicture, SupportPicture, episode_strip
from la.widgets.browser import Widget, as_picture, plane
from la.widgets.drawing import DrawingWidget
from la.widgets.editor_files import export_masks, label_rows
from la.widgets.photos import LivePredictor, Photo, photos_of


class PromptEditor(DrawingWidget):
    """Points, boxes, brush, eraser and lasso for several classes on several images, live.

    Without a `predictor` the editor only draws and saves. `prompts` gets and sets the vector
    prompts as plain data, `classes` their names.

    Raises:
        ValueError: an image cannot be read.
        TraitError: classes or prompts do not fit.
    """

    view = Unicode("editor").tag(sync=True)
    seq = Int(0).tag(sync=True)  # counts what the browser sent; `ack` says that it arrived
    ack = Int(0).tag(sync=True)
    about = Unicode("no model: prompts can be drawn and saved").tag(sync=True)
    predictor = traitlets.Any()  # a LivePredictor or None; setting it encodes the images again

    def __init__(
        self,
        support: Iterable[Source] = (),
        queries: Iterable[Source] = (),
        classes: Sequence[str] = ("object",),
        prompts: Sequence[dict[str, Any]] = (),
        predictor: LivePredictor | None = None,
    ) -> None:
        self._pieces: dict[str, list[bytes]] = {}  # of files that the browser is sending, by name
        # The prediction is older than the prompts; read and set under the lock, as is the worker.
        self._dirty = False
        self._worker: threading.Thread | None = None
        self._support: Any = None
        self._labels: np.ndarray | None = None
        super().__init__(support, queries, classes, prompts)
        self.on_msg(self._on_message)
        self.predictor = predictor  # last, so that the first prediction has everything

    @property
    def support(self) -> Any:
        """The predictor's support set for the prompts.

        Raises:
            RuntimeError: there is none; says why.
        """
        self.wait()
        if self._support is None:
            raise RuntimeError(f"no support: {self.status['text'] or self.about}")
        return self._support

    def export(self, folder: str | Path = "masks") -> Path:
        """Write drawn masks of supports and predicted ones of queries: PNGs and `masks.json`."""
        folder = Path(folder)
        has_query = any(photo.role == "query" for photo in self._photos)
        # `support` waits for the prediction, and with it for the encodings of all images.
        support = self.support if has_query and self.predictor is not None else None
        export_masks(self.drawing, self._photos, self.predictor, support, folder)
        return folder

    def load_example(self, seed: int = 0) -> None:
        """Show two generated supports with prompts of all kinds, and a query."""
        example = example_episode(seed)
        photos = photos_of([image for image, _ in example.examples], [example.query], "example")
        prompts: list[dict[str, Any]] = []
        for img, (_, prompts_of_class) in enumerate(example.examples):
            width, height = photos[img].image.size
            for cls, (name, marks) in enumerate(prompts_of_class.items(), 1):
                prompts += drawn.prompts_of(to_drawn(marks, (height, width), name), img, cls)
        self._show(photos, example.class_names, prompts)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Apply a message of the browser; the status line says what is wrong with it."""
        try:
            super().set_state(sync_data)
        except TraitError as error:
            self._say("error", str(error))

    def _on_message(
        self, _widget: Widget, content: dict[str, Any], buffers: Sequence[memoryview]
    ) -> None:
        try:
            match content["do"]:
                case "save":
                    self._say("done", f"Saved {len(self.prompts)} prompts in {self.save()}")
                case "export":
                    self._say("done", f"Masks of all images are in the folder {self.export()}")
                case "load":
                    self.load()
                    self._say("done", f"Loaded {len(self.prompts)} prompts from prompts.json")
                case "example":
                    self.load_example()
                case "remove":
                    self.remove(content["img"])
                case "add":  # in pieces: a server takes no messages over 10 MB
                    pieces = self._pieces.setdefault(content["name"], [])
                    pieces.append(bytes(buffers[0]))
                    if content["last"]:
                        del self._pieces[content["name"]]
                        self.add(b"".join(pieces), content["role"], content["name"])
        except Exception as error:  # any: Jupyter would write it to a log that nobody reads
            self._say("error", f"{content.get('do')} failed: {error}")

    @observe("seq")
    def _acknowledge(self, change: Bunch) -> None:
        self.ack = change.new

    @observe("prompts", "classes", "query", "images", "predictor")
    def _changed(self, change: Bunch) -> None:
        """Mark the prediction as old, and start the worker unless it runs already."""
        with self._lock:
            if change.name == "predictor":
                self._photos = [replace(photo, encoded=None) for photo in self._photos]
            self._dirty = self.predictor is not None
            if self._dirty:
                card = self.predictor.describe()
                self.about = f"{card['name']} · {card['hash']} · trained on {card['trained_on']}"
            if self._dirty and self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._worker.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the prediction belongs to the prompts; False after `timeout` seconds."""
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
            except Exception as error:  # any: it would end the thread without a word
                self._support, self.overlay = None, {}
                self._say("error", f"Prediction failed: {type(error).__name__}: {error}")

    def _predict(self, drawing: drawn.Drawing, photos: list[Photo], query: int, seq: int) -> None:
        predictor, start = self.predictor, time.perf_counter()
        for i, photo in enumerate(photos, 1):
            if photo.encoded is None:
                self._say("busy", f"Encoding image {i} of {len(photos)}: {photo.name}")
                photo.encoded = predictor.encode(photo.image)
        encoded, start = time.perf_counter() - start, time.perf_counter()
        annotated = zip(photos, drawn.annotate(drawing), strict=True)
        examples = [(photo.encoded, prompts) for photo, prompts in annotated if prompts]
        self._support = predictor.support(examples) if examples else None
        if not examples or query < 0:
            self.overlay = {}
            wanted = "a query image" if examples else "a prompt on a support image"
            return self._say("idle", f"Waiting for {wanted}")
        prediction = predictor.predict(photos[query].encoded, self._support)
        took = f"Segmented {photos[query].name} in {(time.perf_counter() - start) * 1e3:.0f} ms"
        self._labels = label_rows(prediction, drawing.classes)
        self.overlay = {"img": query, "seq": seq, **plane(self._labels)}
        self._say("done", took + (f", encoded in {encoded:.1f} s" if encoded > 0.05 else ""))

    def snapshot(self, timeout: float = 60) -> Image.Image:
        """The editor as a picture: supports with prompts, the query, its label map."""
        self.wait(timeout)
        return as_picture(self._figure(), "What is drawn")

    def _figure(self) -> Figure:
        row = {name: number for number, name in enumerate(self.classes, 1)}
        supports = []
        for photo, marks in zip(self._photos, drawn.annotate(self.drawing), strict=True):
            if photo.role == "support":
                size = photo.image.height, photo.image.width
                prompts = {row[name]: to_drawn(marks[name], size, name) for name in marks}
                supports.append(SupportPicture(photo.image, prompts))
        query = self.photos[self.query] if self.query >= 0 else Image.new("RGB", (9, 9), "white")
        labels = self._labels if self.overlay.get("img") == self.query else None
        names = tuple(self.classes)
        return episode_strip([EpisodePicture(None, names, tuple(supports), query, None, labels)])

    def close(self) -> None:
        """Remove the editor and let its images, encodings and model go."""
        with self._lock:
            self._photos, self.predictor, self._support, self._labels = [], None, None, None
        super().close()
