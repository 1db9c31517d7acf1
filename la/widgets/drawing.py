"""The state of an editor: images with vector prompts, shown in the browser, loaded and saved."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from traitlets import Bunch, Dict, Int, List, TraitError, Unicode, validate

from la.errors import UserError
from la.predict import drawing as drawn
from la.predict import prompts_file
from la.predict.photos import Photo as Source
from la.widgets.browser import Widget, to_browser
from la.widgets.editor_files import save_images, save_prompts
from la.widgets.photos import Photo, photos_of


class DrawingWidget(Widget):
    """Images, classes and vector prompts (`la.predict.drawing`), the same here and in the browser.

    Raises:
        ValueError: an image cannot be read.
        TraitError: classes or prompts do not fit.
    """

    images = List(Dict()).tag(sync=True)  # file_name, original width and height, role, jpeg
    classes = List(Unicode()).tag(sync=True)
    prompts = List(Dict()).tag(sync=True)
    query = Int(-1).tag(sync=True)  # the image that is segmented
    status = Dict({"state": "idle", "text": ""}).tag(sync=True)
    overlay = Dict().tag(sync=True)

    def __init__(
        self,
        support: Iterable[Source],
        queries: Iterable[Source],
        classes: Sequence[str],
        prompts: Sequence[dict[str, Any]],
    ) -> None:
        self._lock = threading.RLock()  # _photos and prompts change together
        self._photos: list[Photo] = []
        super().__init__()
        self._show(photos_of(support, queries), classes, prompts)

    def _show(
        self,
        photos: list[Photo],
        classes: Sequence[str],
        prompts: Sequence[dict[str, Any]],
        query: Photo | None = None,
    ) -> None:
        """Replace what is shown; `query`, or the first one, is segmented."""
        queries = [i for i, p in enumerate(photos) if p.role == "query"]
        with self._lock, self.hold_sync(), self.hold_trait_notifications():
            self._photos = photos
            self.images = [to_browser(p.image, p.name, p.role) for p in photos]
            self.classes, self.prompts, self.overlay = list(classes), list(prompts), {}
            self.query = next((i for i in queries if photos[i] is query), (*queries, -1)[0])

    @property
    def drawing(self) -> drawn.Drawing:
        """Images, classes and prompts as a value."""
        return self._drawing(self.classes, self.prompts)

    def _drawing(self, classes: Sequence[str], prompts: Sequence[dict[str, Any]]) -> drawn.Drawing:
        entries = []
        for photo in self._photos:
            width, height = photo.image.size
            name = str(photo.path or photo.name)
            entries.append(drawn.DrawnImage(name, width, height, photo.role))
        return drawn.Drawing(tuple(entries), tuple(classes), tuple(prompts))

    @validate("classes")
    def _fit_classes(self, proposal: Bunch) -> list[str]:
        return list(self._checked(proposal.value, self.prompts).classes)

    @validate("prompts")
    def _fit_prompts(self, proposal: Bunch) -> list[dict[str, Any]]:
        return list(self._checked(self.classes, proposal.value).prompts)

    def _checked(self, classes: Sequence[str], prompts: Sequence[dict[str, Any]]) -> drawn.Drawing:
        try:
            return self._drawing(classes, prompts)
        except ValueError as error:
            raise TraitError(str(error)) from None

    @property
    def photos(self) -> list[Image.Image]:
        """The images at their original sizes, as `images` lists them."""
        return [photo.image for photo in self._photos]

    def to_coco(self) -> dict[str, Any]:
        """The content of `prompts.json` (`la.predict.prompts_file`)."""
        return prompts_file.to_coco(self.drawing)

    def from_coco(self, data: dict[str, Any], folder: str | Path = ".") -> None:
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
        """Write `prompts.json`, and beside it the images that have no file yet."""
        path = Path(path)
        save_images(self._photos, path)
        save_prompts(self.drawing, path)
        return path

    def add(self, source: Source, role: str = "support", name: str = "photo.png") -> None:
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

    def _say(self, state: str, text: str) -> None:
        self.status = {"state": state, "text": text}
