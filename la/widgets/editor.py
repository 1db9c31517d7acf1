"""PromptEditor: prompts are drawn on support images in JupyterLab, the query is segmented (3.1).

The browser keeps tools, zoom and undo, and sends vector prompts (`la.predict.vector_prompts`).
Python encodes each image once and sends a label map back. One background thread predicts; while it
works, only the newest prompts wait.
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

from la.predict.drawing import Drawing, vector_prompts
from la.predict.example import ExampleEpisode, example_episode, photo_episode
from la.predict.photos import Photo as Source
from la.predict.photos import to_drawn
from la.predict.prediction import label_rows
from la.predict.vector_prompts import VectorPrompt, to_json
from la.report.pictures import EpisodePicture, SupportPicture, episode_strip
from la.widgets.browser import Widget, as_picture, plane
from la.widgets.drawing import DrawingWidget
from la.widgets.editor_files import export_masks
from la.widgets.photos import LivePredictor, Photo, photos_of


class PromptEditor(DrawingWidget):
    """A live editor: points, boxes, brush, eraser and lasso for several classes and images.

    Without a `predictor` prompts can be drawn and saved, but nothing is segmented. `prompts` gets
    and sets the vector prompts as JSON objects, `classes` their names.

    Raises:
        UserError: an image cannot be read.
        TraitError: classes or prompts do not fit.
    """

    view = Unicode("editor").tag(sync=True)
    seq = Int(0).tag(sync=True)  # of the newest message from the browser; `ack` confirms it
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
            RuntimeError: there is none; the message says why.
        """
        self.wait()
        if self._support is None:
            raise RuntimeError(f"no support: {self.status['text'] or self.about}")
        return self._support

    def export(self, folder: str | Path = "masks") -> Path:
        """Write masks of all images: PNG files and `masks.json`, see `export_masks`.

        Raises:
            RuntimeError: the prompts make no support set; the message says why.
        """
        folder = Path(folder)
        support = None
        if self.predictor is not None and self.prompts:
            support = self.support  # this waits until all images are encoded
        export_masks(self.drawing, self._photos, self.predictor, support, folder)
        return folder

    def load_example(self, seed: int = 0) -> None:
        """Show two generated supports with prompts of all kinds, and a query."""
        self._load(example_episode(seed))

    def load_photo_example(self) -> None:
        """Show a marked photograph, and another to segment."""
        self._load(photo_episode())

    def _load(self, example: ExampleEpisode) -> None:
        photos = photos_of([image for image, _ in example.examples], [example.query], "example")
        prompts: list[VectorPrompt] = []
        for img, (_, prompts_of_class) in enumerate(example.examples):
            size = photos[img].size
            for cls, (name, of_class) in enumerate(prompts_of_class.items(), 1):
                prompts += vector_prompts(to_drawn(of_class, size, name), img, cls)
        self._show(photos, example.class_names, to_json(prompts))

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Apply a message from the browser; an error is shown in the status line."""
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
                    path = self.save()
                    self._say("done", f"Saved {len(self.prompts)} prompts in {path}")
                case "export":
                    folder = self.export()
                    self._say("done", f"Masks of all images are in the folder {folder}")
                case "load":
                    self.load()
                    self._say("done", f"Loaded {len(self.prompts)} prompts from prompts.json")
                case "example":
                    self.load_example()
                case "remove":
                    self.remove(content["img"])
                case "add":
                    self._add_piece(content, bytes(buffers[0]))
        except Exception as error:  # any error, because Jupyter would hide it in a log
            self._say("error", f"{content.get('do')} failed: {error}")

    def _add_piece(self, content: dict[str, Any], piece: bytes) -> None:
        """Add a file that arrives in pieces, because a server takes no message over 10 MB."""
        name = content["name"]
        pieces = self._pieces.setdefault(name, [])
        pieces.append(piece)
        if content["last"]:
            del self._pieces[name]
            self.add(b"".join(pieces), content["role"], name)

    @observe("seq")
    def _acknowledge(self, change: Bunch) -> None:
        self.ack = change.new

    @observe("prompts", "classes", "query", "images", "predictor")
    def _changed(self, change: Bunch) -> None:
        """Mark the prediction as old, and start the worker unless it runs already."""
        with self._lock:
            if change.name == "predictor":
                self._photos = [replace(photo, encoded=None) for photo in self._photos]
            if self.predictor is None:
                self._dirty = False
                return
            self._dirty = True
            card = self.predictor.describe()
            self.about = f"{card['name']} · {card['hash']} · trained on {card['trained_on']}"
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._worker.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the newest prompts are predicted; False if `timeout` seconds pass first."""
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
                self._dirty = False
                drawing = self.drawing
                photos = list(self._photos)
                query = self.query
                seq = self.seq
            try:
                self._predict(drawing, photos, query, seq)
            except Exception as error:  # any error would end the thread silently
                self._support = None
                self.overlay = {}
                self._say("error", f"Prediction failed: {type(error).__name__}: {error}")

    def _predict(self, drawing: Drawing, photos: list[Photo], query: int, seq: int) -> None:
        predictor = self.predictor
        start = time.perf_counter()
        for number, photo in enumerate(photos, 1):
            if photo.encoded is None:
                self._say("busy", f"Encoding image {number} of {len(photos)}: {photo.name}")
                photo.encoded = predictor.encode(photo.image)
        encoded = time.perf_counter()
        annotated = zip(photos, drawing.annotations(), strict=True)
        examples = [(photo.encoded, prompts) for photo, prompts in annotated if prompts]
        self._support = predictor.support(examples) if examples else None
        if not examples or query < 0:
            missing = "a query image" if examples else "a prompt on a support image"
            self.overlay = {}
            self._say("idle", f"Waiting for {missing}")
            return
        prediction = predictor.predict(photos[query].encoded, self._support)
        milliseconds = (time.perf_counter() - encoded) * 1e3
        labels = label_rows(prediction.labels, prediction.class_names, drawing.classes)
        self._labels = labels
        self.overlay = {"img": query, "seq": seq, **plane(labels)}
        report = f"Segmented {photos[query].name} in {milliseconds:.0f} ms"
        if encoded - start > 0.05:
            report += f", encoded in {encoded - start:.1f} s"
        self._say("done", report)

    def snapshot(self, timeout: float = 60) -> Image.Image:
        """The editor as a picture: supports with prompts, the query, its label map."""
        self.wait(timeout)
        return as_picture(self._figure(), "What is drawn")

    def _figure(self) -> Figure:
        supports = []
        for photo, annotations in zip(self._photos, self.drawing.annotations(), strict=True):
            if photo.role == "support":
                prompts = {
                    self.classes.index(name) + 1: to_drawn(of_class, photo.size, name)
                    for name, of_class in annotations.items()
                }
                supports.append(SupportPicture(photo.image, prompts))
        blank = Image.new("RGB", (9, 9), "white")
        query = self.photos[self.query] if self.query >= 0 else blank
        episode = EpisodePicture(
            number=None,
            class_names=tuple(self.classes),
            supports=tuple(supports),
            query=query,
            target=None,
            prediction=self._labels if self.overlay.get("img") == self.query else None,
        )
        return episode_strip([episode])

    def close(self) -> None:
        """Remove the editor and let its images, encodings and model go."""
        with self._lock:
            self._photos = []
            self.predictor = None
            self._support = None
            self._labels = None
        super().close()
