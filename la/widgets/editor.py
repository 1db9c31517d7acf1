"""PromptEditor: draw prompts on support images in JupyterLab, see the query segmented (paper 3.1).

The browser keeps tools, zoom and undo and sends vector prompts (`la.predict.drawing`). Python
encodes each image once, predicts in one background thread where the newest prompts win, and sends
a label map back.
"""

import json
import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from traitlets import Any, Dict, Int, List, TraitError, Unicode, observe, validate

from la.colours import palette_png
from la.errors import UserError
from la.files import write_whole
from la.predict import drawing as drawn
from la.predict import prompts_file
from la.predict.example import example_episode
from la.predict.photos import open_photo, to_drawn
from la.predict.prediction import coco
from la.report.pictures import explained
from la.widgets.browser import Widget, as_picture, plane, to_browser


@dataclass
class Photo:
    """An image at its original size, and what the predictor made of it."""

    name: str
    role: str  # "support" or "query"
    image: Image.Image  # RGB, upright
    path: Path | None = None
    encoded: object = None

    @classmethod
    def open(cls, source, role: str, name: str) -> "Photo":
        """Anything that `la.predict.photos.open_photo` takes; `name` is for what is no path."""
        path = Path(source) if isinstance(source, str | Path) else None
        return cls(path.name if path else name, role, open_photo(source, name), path)


def photos_of(support, queries, stem: str = "") -> list[Photo]:
    """Supports, then queries; what is no path is named by its number."""
    sources = [("support", s) for s in support] + [("query", q) for q in queries]
    return [
        Photo.open(s, role, f"{stem or role}-{i}.png") for i, (role, s) in enumerate(sources, 1)
    ]


class PromptEditor(Widget):
    """Points, boxes, brush, eraser and lasso for several classes on several images, live.

    `predictor` has `encode(image)`, `support([(encoded, {class: prompts}), ...])`,
    `predict(encoded, support)` and `describe()`, as `la.predict.predictor.Predictor`; without one
    the editor draws and saves only. `prompts` gets and sets plain data, `classes` the names.

    Raises:
        ValueError: an image cannot be read.
        TraitError: classes or prompts do not fit.
    """

    view = Unicode("editor").tag(sync=True)
    images = List().tag(sync=True)  # file_name, original width and height, role, jpeg
    classes = List(Unicode()).tag(sync=True)
    prompts = List(Dict()).tag(sync=True)
    query = Int(-1).tag(sync=True)  # the image that is segmented
    seq = Int(0).tag(sync=True)  # counts what the browser sent; `ack` says that it arrived
    ack = Int(0).tag(sync=True)
    status = Dict({"state": "idle", "text": ""}).tag(sync=True)
    overlay = Dict().tag(sync=True)
    about = Unicode("no model: prompts can be drawn and saved").tag(sync=True)
    predictor = Any()  # setting another one encodes the images anew

    def __init__(
        self, support=(), queries=(), classes=("object",), prompts=(), predictor=None
    ) -> None:
        self._lock = threading.RLock()  # over _photos with prompts, _dirty and _worker
        self._photos: list[Photo] = []
        self._pieces: dict[str, list[bytes]] = {}  # of files that the browser is sending, by name
        self._dirty, self._worker, self._support, self._labels = False, None, None, None
        super().__init__()
        self._show(photos_of(support, queries), classes, prompts)
        self.on_msg(self._on_message)
        self.predictor = predictor  # last: what it would be asked meanwhile is asked once

    def _show(self, photos: list[Photo], classes, prompts, query: Photo | None = None) -> None:
        """Replace what is shown; `query`, or the first one, is segmented."""
        queries = [i for i, p in enumerate(photos) if p.role == "query"]
        with self._lock, self.hold_sync(), self.hold_trait_notifications():
            self._photos = photos
            self.images = [to_browser(p.image, p.name, p.role) for p in photos]
            self.classes, self.prompts, self.overlay = list(classes), list(prompts), {}
            self.query = next((i for i in queries if photos[i] is query), (*queries, -1)[0])

    def _drawing(self, **changed) -> drawn.Drawing:
        given = {"classes": self.classes, "prompts": self.prompts} | changed
        files = ((str(p.path or p.name), *p.image.size, p.role) for p in self._photos)
        entries = tuple(drawn.DrawnImage(*file) for file in files)
        return drawn.Drawing(entries, **{name: tuple(value) for name, value in given.items()})

    @property
    def drawing(self) -> drawn.Drawing:
        """Images, classes and prompts as a value."""
        return self._drawing()

    @validate("classes", "prompts")
    def _fit(self, proposal):
        name = proposal.trait.name
        try:
            return list(getattr(self._drawing(**{name: proposal.value}), name))
        except ValueError as error:
            raise TraitError(str(error)) from None

    @property
    def photos(self) -> list[Image.Image]:
        """The images at their original sizes, as `images` lists them."""
        return [photo.image for photo in self._photos]

    @property
    def support(self):
        """The predictor's value for the prompts; RuntimeError says why there is none."""
        self.wait()
        if self._support is None:
            raise RuntimeError(f"no support: {self.status['text'] or self.about}")
        return self._support

    def to_coco(self) -> dict:
        """The content of `prompts.json` (`la.predict.prompts_file`)."""
        return prompts_file.to_coco(self.drawing)

    def from_coco(self, data: dict, folder: str | Path = ".") -> None:
        """Show what `to_coco` gave; images that the editor does not hold are opened in `folder`.

        Raises:
            ValueError: the data or an image do not fit; says which.
        """
        known = {Path(photo.path or photo.name).resolve(): photo for photo in self._photos}
        drawing, photos = prompts_file.from_coco(data), []
        for entry in drawing.images:
            path = Path(folder, entry.file_name)
            photo = known.get(path.resolve()) or Photo.open(path, entry.role, "")
            if photo.image.size != (entry.width, entry.height):
                raise UserError(f"{path} is not {entry.width} x {entry.height}, as it was")
            photos.append(replace(photo, role=entry.role))
        self._show(photos, drawing.classes, drawing.prompts)

    def load(self, path: str | Path = "prompts.json") -> None:
        """`from_coco` of a file; image names are relative to it."""
        self.from_coco(prompts_file.to_coco(prompts_file.read(path)), Path(path).parent)

    def save(self, path: str | Path = "prompts.json") -> Path:
        """Write `prompts.json`, and beside it the images that no file holds yet."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        for photo in self._photos:
            if photo.path is None:
                photo.path = path.parent / f"{path.stem}-{photo.name.removesuffix('.png')}.png"
                photo.image.save(photo.path)
        data = self.to_coco()
        for entry, photo in zip(data["images"], self._photos, strict=True):
            entry["file_name"] = os.path.relpath(photo.path, path.parent)
        write_whole(path, json.dumps(data))
        return path

    def export(self, folder: str | Path = "masks") -> Path:
        """Write drawn masks of supports, predicted ones of queries: PNGs, `masks.json` (COCO RLE).

        Each PNG is a label map in palette colours; where drawn classes overlap, the later one wins.
        """
        folder, names, maps = Path(folder), tuple(self.classes), []
        folder.mkdir(parents=True, exist_ok=True)
        for i, (photo, found) in enumerate(
            zip(self._photos, drawn.annotate(self.drawing), strict=True), 1
        ):
            labels = np.zeros(photo.image.size[::-1], np.uint8)
            if photo.role == "query" and self.predictor is not None:
                support = self.support  # waits for the encodings
                labels = _rows(self.predictor.predict(photo.encoded, support), names)
            for name, prompts in found.items():
                for mask in (p for p in prompts if isinstance(p, np.ndarray)):
                    labels[mask] = names.index(name) + 1
            maps.append((f"{i}-{Path(photo.name).stem}.png", labels))
            palette_png(labels).save(folder / maps[-1][0])
        write_whole(folder / "masks.json", json.dumps(coco(maps, names)))
        return folder

    def load_example(self, seed: int = 0) -> None:
        """Show two generated supports with prompts of all kinds, and a query."""
        found = example_episode(seed)
        photos = photos_of([image for image, _ in found.examples], [found.query], "example")
        prompts = []
        for img, (_, classes) in enumerate(found.examples):
            for cls, (name, given) in enumerate(classes.items(), 1):
                marks = to_drawn(given, photos[img].image.size[::-1], name)
                prompts += drawn.prompts_of(marks, img, cls)
        self._show(photos, found.class_names, prompts)

    def add(self, source, role: str = "support", name: str = "photo.png") -> None:
        """Show another image; a query is segmented at once.

        Raises:
            FileNotFoundError, ValueError: it is no image; see `la.predict.photos.open_photo`.
        """
        new = Photo.open(source, role, name)
        with self._lock:
            while new.name in (photo.name for photo in self._photos):
                new.name = f"another {new.name}"
            photos = [*self._photos, new]
            self._say("done", f"Added {new.name}")
            shown = new if role == "query" else photos[self.query]
            self._show(photos, self.classes, self.prompts, shown)

    def remove(self, img: int) -> None:
        """Take an image away, with its prompts."""
        with self._lock:
            photos, query = list(self._photos), self._photos[self.query]
            self._say("done", f"Removed {photos.pop(img).name} and its prompts")
            kept = [p for p in self.prompts if p["img"] != img]
            kept = [p | {"img": p["img"] - (p["img"] > img)} for p in kept]
            self._show(photos, self.classes, kept, query)

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
        except Exception as error:  # whatever it is: the notebook would hide it from the reader
            self._say("error", f"{content.get('do')} failed: {error}")

    @observe("seq")
    def _acknowledge(self, change) -> None:
        self.ack = change.new

    @observe("prompts", "classes", "query", "images", "predictor")
    def _changed(self, change) -> None:
        """There is work; the one worker runs already and will see it, or starts."""
        with self._lock:
            if change.name == "predictor":
                self._photos = [replace(photo, encoded=None) for photo in self._photos]
            self._dirty = self.predictor is not None
            if self._dirty:
                card = self.predictor.describe()
                self.about = "{name} · {hash} · trained on {trained_on}".format(**card)
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
        self._labels = _rows(prediction, drawing.classes)
        self.overlay = {"img": query, "seq": seq, **plane(self._labels)}
        self._say("done", took + (f", encoded in {encoded:.1f} s" if encoded > 0.05 else ""))

    def snapshot(self, timeout: float = 60) -> Image.Image:
        """The editor as a picture: supports with prompts, the query, its label map."""
        self.wait(timeout)
        marked = zip(self._photos, drawn.annotate(self.drawing), strict=True)
        examples = [(photo.image, found) for photo, found in marked if photo.role == "support"]
        query = self.photos[self.query] if self.query >= 0 else Image.new("RGB", (9, 9), "white")
        labels = self._labels if self.overlay.get("img") == self.query else None
        shown = SimpleNamespace(class_names=tuple(self.classes), image=query, labels=labels)
        return as_picture(explained(examples, shown, None), "What is drawn")

    def close(self) -> None:
        """Remove the editor and let its images, encodings and model go."""
        with self._lock:
            self._photos, self.predictor, self._support, self._labels = [], None, None, None
        super().close()


def _rows(prediction, classes: tuple[str, ...]) -> np.ndarray:
    """The label map (H, W) in rows of the editor's classes; unprompted ones are not predicted."""
    rows = [0, *(classes.index(name) + 1 for name in prediction.class_names)]
    return np.array(rows, np.uint8)[np.asarray(prediction.labels)]
