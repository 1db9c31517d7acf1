"""PromptEditor: prompts are drawn on support images in JupyterLab, the query is segmented (3.1).

The browser keeps tools, zoom and undo, and sends vector prompts
(`la.predict.prompts.vector_prompts`). Python encodes each image that is needed once and sends a
label map back. One background thread predicts; while it works, only the newest prompts wait.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import traitlets
from ipywidgets import Layout
from PIL import Image
from traitlets import Bunch, Int, Unicode, observe

from la.predict.prompts.drawing import Drawing
from la.predict.prompts.photos import Photo as Source
from la.widgets.loop import LoopWidget
from la.widgets.page.browser import LONG_SIDE, Widget, as_picture
from la.widgets.photographs.photos import LivePredictor, Photo, placed
from la.widgets.photographs.supply import Pieces, PixelSupply
from la.widgets.photographs.supports import SupportCache
from la.widgets.photographs.worker import Worker
from la.widgets.saved import autosave, keeping
from la.widgets.saved.autosave import State
from la.widgets.saved.editor_files import export_masks
from la.widgets.saved.still import figure
from la.wording import counted


class PromptEditor(LoopWidget):
    """A live editor: points, boxes, brush, eraser and lasso for several classes and images.

    Without a `predictor` prompts can be drawn and saved, but nothing is segmented. `prompts` gets
    and sets the vector prompts as JSON objects, `classes` their names. A folder among the images
    means all photographs in it.

    In a notebook every change is saved beside it, and when the cell runs again, in the same kernel
    or another one, the editor continues with what was drawn; images and classes that the arguments
    newly name are added.

    Raises:
        UserError: an image cannot be read.
        TraitError: classes or prompts do not fit.
    """

    view = Unicode("editor").tag(sync=True)
    saved = Int(0).tag(sync=True)  # the newest `seq` that is on disk
    saved_before = traitlets.Float(0).tag(sync=True)  # when the file was written before, in s

    def __init__(
        self,
        support: Iterable[Source] = (),
        queries: Iterable[Source] = (),
        classes: Sequence[str] = ("object",),
        prompts: Sequence[dict[str, Any]] = (),
        predictor: LivePredictor | None = None,
        autosave_file: str | Path | None = None,
    ) -> None:
        """An editor; `autosave_file` is by default one beside the notebook, none without one."""
        state = State.given(placed(support, queries), classes, prompts)
        cell_file = autosave.cell_file() if autosave_file is None else None
        path = Path(autosave_file).absolute() if autosave_file is not None else cell_file
        layout = Layout()  # opened before the former editor is closed, see `DrawingWidget`
        note = ""
        saved_before = path.stat().st_mtime if path is not None and path.exists() else 0.0
        if path is not None:
            state, note = keeping.taken_up(path, state)
        self._origin = state.origin
        self._keeper: keeping.Keeper | None = None
        self._picture: keeping.LastingPicture | None = None
        if cell_file is not None:
            self._picture = keeping.LastingPicture(lambda: self.still(self.snapshot(0)))
        self._files = Pieces()
        self._supports = SupportCache()
        super().__init__(state, layout)
        self._worker = Worker(self._work, self._lock)
        self._supply = PixelSupply(self._library.get, self.send, self._lock)
        if path is not None:
            self.file, self.saved_before = str(path), saved_before
            self._keeper = keeping.Keeper(self, path, self._refuse)
            self._keeper.changed()
        self._say("idle", note)
        self.on_msg(self._on_message)
        self.predictor = predictor  # last, so that the first prediction has everything

    @property
    def state(self) -> State:
        """Everything that is displayed, as a value to be saved."""
        return State(
            photos=self._placed,
            classes=self.classes,
            prompts=self.prompts,
            query=self.query,
            origin=self._origin,
            reviewed=self.reviewed,
            threshold=self.threshold,
            removed=self._removed,
        )

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
        support = self.support if self.predictor is not None and self.prompts else None
        photos = [place.photo for place in self._placed]
        export_masks(self.drawing, photos, self.predictor, support, self.threshold, folder)
        return folder

    def _on_message(
        self, _widget: Widget, content: dict[str, Any], buffers: Sequence[memoryview]
    ) -> None:
        try:
            match content["do"]:
                case "pixels":
                    self._supply.ask(content["wanted"], content["before"])
                case "save":
                    path = self.save()
                    self._say("done", f"Saved {counted(len(self.prompts), 'prompt')} in {path}")
                case "export":
                    self._say("busy", "Segmenting all images and writing their masks")
                    self._say("done", f"Masks of all images are in the folder {self.export()}")
                case "load":
                    self.load()
                    loaded = counted(len(self.prompts), "prompt")
                    self._say("done", f"Loaded {loaded} from prompts.json")
                case "example":
                    self.load_example()
                case "add":
                    whole = self._files.take(content["name"], bytes(buffers[0]), content["last"])
                    if whole is not None:
                        self.add(whole, content["role"], content["name"])
                case _:
                    self._answer(content)
        except Exception as error:  # Jupyter would only log it, where nobody reads it
            self._fail(content["do"], error)

    @observe("prompts", "classes", "query", "listed", "added", "reviewed", "threshold")
    def _keep(self, _change: Bunch) -> None:
        if self._keeper is not None:
            self._keeper.changed()
        if self._picture is not None:
            self._picture.changed()

    @observe("prompts", "classes", "query", "listed", "added", "predictor")
    def _changed(self, change: Bunch) -> None:
        """Have the newest prompts predicted."""
        if self.predictor is None:
            return
        if change.name == "predictor":
            card = self.predictor.describe()
            self.about = f"{card['name']} · {card['hash']} · trained on {card['trained_on']}"
        self._worker.ask()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the newest prompts are predicted; False if `timeout` seconds pass first."""
        return self._worker.wait(timeout)

    def _work(self) -> None:
        with self._lock:
            predictor = self.predictor
            if predictor is None:
                return
            drawing = self.drawing
            photos = [place.photo for place in self._placed]
            query = self.query
            seq = self.seq
        try:
            self._predict(predictor, drawing, photos, query, seq)
        except Exception as error:  # any exception would silently end the thread
            self._support = None
            self.overlay = {}
            self._say("error", f"Prediction failed: {type(error).__name__}: {error}")

    def _predict(
        self,
        predictor: LivePredictor,
        drawing: Drawing,
        photos: Sequence[Photo],
        query: int,
        seq: int,
    ) -> None:
        self._encoding_seconds = 0.0
        start = time.perf_counter()
        self._support = self._supports.support(predictor, drawing, photos, self._encoded)
        if self._support is None or query < 0:
            missing = "a query image" if self._support else "a prompt on a support image"
            self.overlay = {}
            self._say("idle", f"Waiting for {missing}")
            return
        encoded = self._encoded(photos[query])
        self._say("busy", f"Segmenting {photos[query].name}")
        prediction = predictor.predict(encoded, self._support)
        seconds = time.perf_counter() - start - self._encoding_seconds
        answers = {"img": query, "seq": seq, "ms": round(seconds * 1e3)}
        self._display(prediction, drawing.classes, answers)
        report = f"Segmented {photos[query].name} in {seconds * 1e3:.0f} ms"
        if self._encoding_seconds > 0.05:
            report += f", encoded in {self._encoding_seconds:.1f} s"
        self._say("done", report)

    def _encoded(self, photo: Photo) -> Any:
        """The photograph after the predictor's backbone, computed when it is first needed."""
        predictor = self.predictor
        if photo.encoded is None or photo.encoded_by != predictor.describe()["hash"]:
            self._say("busy", f"Encoding {photo.name}")
            start = time.perf_counter()
            photo.encoded = predictor.encode(photo.image, LONG_SIDE)
            photo.encoded_by = predictor.describe()["hash"]
            self._encoding_seconds += time.perf_counter() - start
        return photo.encoded

    def snapshot(self, timeout: float = 60) -> Image.Image:
        """The editor as a picture: supports with prompts, the query, its label map."""
        self.wait(timeout)
        labels = self._labels if self.overlay.get("img") == self.query else None
        return as_picture(figure(self.state, labels), "What is drawn")

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget; in a live notebook, the picture is a separate output kept up to date."""
        if self._picture is None:
            return super()._repr_mimebundle_(**kwargs)
        self._picture.display()
        return self.live(**kwargs), {}

    def close(self) -> None:
        """Remove the editor, and free its images, encodings and model."""
        if self.comm is None:  # closed before, or never opened because the arguments were wrong
            return
        for keeper in (self._keeper, self._picture):
            if keeper is not None:
                keeper.end()
        self._keeper = self._picture = None
        with self._lock:
            self._worker.forget()
            self.predictor = None
            self._library.clear()
            self._supports = SupportCache()
            self._support = None
            self._labels = self._prediction = None
        self.overlay = {}  # JupyterLab keeps the last state of a widget that is closed
        super().close()
