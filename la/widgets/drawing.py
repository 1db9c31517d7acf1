"""The state of an editor: images with vector prompts, displayed in the browser and saved."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from traitlets import Bunch, Dict, Int, List, TraitError, Unicode, validate

from la.errors import UserError
from la.predict import prompts_file
from la.predict.drawing import Drawing, DrawnImage, Role
from la.predict.from_annotations import read_annotations
from la.predict.photos import Photo as Source
from la.predict.vector_prompts import from_json, to_json
from la.widgets.browser import Widget, to_browser
from la.widgets.editor_files import save_images
from la.widgets.photos import Photo, photos_of


class DrawingWidget(Widget):
    """Images, classes and vector prompts (`la.predict.vector_prompts`), in step with the browser.

    Raises:
        UserError: an image cannot be read.
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
        self._lock = threading.RLock()  # held while _photos and prompts change together
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
        """Replace images, classes and prompts; `query`, or else the first query, is segmented."""
        queries = []
        for number, photo in enumerate(photos):
            if photo.role == "query":
                queries.append(number)
        segmented = queries[0] if queries else -1
        for number in queries:
            if photos[number] is query:
                segmented = number
        with self._lock, self.hold_sync(), self.hold_trait_notifications():
            self._photos = photos
            self.images = [to_browser(photo.image, photo.name, photo.role) for photo in photos]
            self.classes = list(classes)
            self.prompts = list(prompts)
            self.overlay = {}
            self.query = segmented

    @property
    def drawing(self) -> Drawing:
        """Images, classes and prompts as a value."""
        return self._drawing(self.classes, self.prompts)

    def _drawing(self, classes: Sequence[str], prompts: Sequence[dict[str, Any]]) -> Drawing:
        images = []
        for photo in self._photos:
            width, height = photo.image.size
            name = str(photo.path or photo.name)
            images.append(DrawnImage(name, width, height, photo.role))
        return Drawing(tuple(images), tuple(classes), from_json(prompts))

    @validate("classes")
    def _fit_classes(self, proposal: Bunch) -> list[str]:
        return list(self._checked(proposal.value, self.prompts).classes)

    @validate("prompts")
    def _fit_prompts(self, proposal: Bunch) -> list[dict[str, Any]]:
        return to_json(self._checked(self.classes, proposal.value).prompts)

    def _checked(self, classes: Sequence[str], prompts: Sequence[dict[str, Any]]) -> Drawing:
        try:
            return self._drawing(classes, prompts)
        except UserError as error:
            raise TraitError(str(error)) from None

    @property
    def photos(self) -> list[Image.Image]:
        """The images at their original sizes, as `images` lists them."""
        return [photo.image for photo in self._photos]

    def to_coco(self) -> dict[str, Any]:
        """The content of `prompts.json` (`la.predict.prompts_file`)."""
        return prompts_file.to_coco(self.drawing)

    def from_coco(self, data: dict[str, Any], folder: str | Path = ".") -> None:
        """Show what `to_coco` returned; images that the editor lacks are opened in `folder`.

        Raises:
            MissingFile, UserError: the data or an image do not fit; the message says which.
        """
        self.show_drawing(prompts_file.from_coco(data), folder)

    def show_drawing(self, drawing: Drawing, folder: str | Path = ".") -> None:
        """Show another drawing; images that the editor lacks are opened in `folder`.

        Raises:
            MissingFile, UserError: an image is missing or has another size.
        """
        photo_of = {}
        for photo in self._photos:
            path = Path(photo.path or photo.name)
            photo_of[path.resolve()] = photo
        photos = []
        for image in drawing.images:
            path = Path(folder, image.file_name)
            photo = photo_of.get(path.resolve()) or Photo.open(path, image.role, "")
            if photo.image.size != (image.width, image.height):
                raise UserError(f"{path} is not {image.width} x {image.height}, as it was")
            photos.append(replace(photo, role=image.role))
        self._show(photos, drawing.classes, to_json(drawing.prompts))

    def load(
        self,
        path: str | Path = "prompts.json",
        images: str | Path | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Show the drawing of a `prompts.json` file, or annotations of other programs.

        Args:
            path: a `prompts.json`; or with `images`, what `read_annotations` takes.
            images: the folder of the annotated photographs.
            classes: those of the annotations to show; when omitted, all.

        Raises:
            MissingFile, UserError: see `la.predict.prompts_file.read`, `show_drawing` and
                `la.predict.from_annotations.read_annotations`.
        """
        if images is None:
            self.show_drawing(prompts_file.read(path), Path(path).parent)
        else:
            self.show_drawing(read_annotations(path, images, classes=classes))

    def save(self, path: str | Path = "prompts.json") -> Path:
        """Write `prompts.json`, and beside it the images that have no file yet."""
        path = Path(path)
        save_images(self._photos, path)
        prompts_file.write(self.drawing, path)
        return path

    def add(self, source: Source, role: Role = "support", name: str = "photo.png") -> None:
        """Show another image; a query is segmented at once.

        Raises:
            MissingFile, UserError: it is no image; see `la.predict.photos.open_photo`.
        """
        new = Photo.open(source, role, name)
        with self._lock:
            names = [photo.name for photo in self._photos]
            while new.name in names:
                new.name = f"another {new.name}"
            photos = [*self._photos, new]
            query = new if role == "query" else photos[self.query]
            self._say("done", f"Added {new.name}")
            self._show(photos, self.classes, self.prompts, query)

    def remove(self, img: int) -> None:
        """Remove an image together with its prompts."""
        with self._lock:
            photos = list(self._photos)
            query = photos[self.query]
            removed = photos.pop(img)
            prompts = []
            for prompt in self.prompts:
                if prompt["img"] != img:
                    moved = prompt["img"] - (prompt["img"] > img)
                    prompts.append({**prompt, "img": moved})
            self._say("done", f"Removed {removed.name} and its prompts")
            self._show(photos, self.classes, prompts, query)

    def _say(self, state: str, text: str) -> None:
        self.status = {"state": state, "text": text}
