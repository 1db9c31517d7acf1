"""The state of an editor: photographs with vector prompts, displayed in the browser and saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipywidgets import Layout
from traitlets import Bunch, Dict, Int, List, TraitError, Unicode, observe, validate

from la.errors import UserError
from la.predict.example import example_episode, photo_episode
from la.predict.prompts import prompts_file
from la.predict.prompts.drawing import Drawing, DrawnImage, Role
from la.predict.prompts.from_annotations import read_annotations
from la.predict.prompts.named_photos import RelativePhotos
from la.predict.prompts.photos import Photo as Source
from la.predict.prompts.vector_prompts import from_json, to_json
from la.widgets.page.browser import Widget
from la.widgets.photographs.album import AlbumWidget
from la.widgets.photographs.photos import Photo, Placed
from la.widgets.saved.autosave import State
from la.widgets.saved.editor_files import predict_command, save_images
from la.widgets.saved.examples import example_state


class DrawingWidget(AlbumWidget):
    """Images, classes and vector prompts, in step with the browser, which may set any of them.

    `la.predict.prompts.vector_prompts` defines the prompts.

    Raises:
        UserError: an image cannot be read.
        TraitError: classes or prompts do not fit.
    """

    classes = List(Unicode()).tag(sync=True)
    prompts = List(Dict()).tag(sync=True)
    query = Int(-1).tag(sync=True)  # the image that is segmented
    seq = Int(0).tag(sync=True)  # of the newest message from the browser; `ack` confirms it
    ack = Int(0).tag(sync=True)
    file = Unicode("").tag(sync=True)  # where the drawing is saved, empty if it is not
    about = Unicode("no model: prompts can be drawn and saved").tag(sync=True)
    status = Dict({"state": "idle", "text": ""}).tag(sync=True)  # of the work in progress
    notice = Unicode("").tag(sync=True)  # what went wrong; stays until the reader closes it
    overlay = Dict().tag(sync=True)

    def __init__(self, state: State, layout: Layout) -> None:
        """A drawing; `layout` must be opened before a former drawing is closed.

        All widgets of a page share one subshell of the kernel. JupyterLab 4.6 deletes it with the
        last of them, even if another widget is opened while the subshell is being created, as
        when cells are run in a page that has just been opened. Messages to it are then lost.
        """
        super().__init__(layout)
        try:
            self._begin(state)
        except Exception:
            Widget.close(self)  # there is nothing else to close yet
            raise

    def _begin(self, state: State) -> None:
        for place in state.removed:
            self._library[place.photo.id] = place.photo
        self._show(state.photos, state.classes, state.prompts, state.query)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Apply a message from the browser; a notice says what is wrong with it."""
        try:
            with self._lock:  # images and prompts change together
                super().set_state(sync_data)
        except TraitError as error:
            self._refuse(str(error))

    def _show(
        self,
        photos: Sequence[Placed],
        classes: Sequence[str],
        prompts: Sequence[dict[str, Any]],
        query: int = -1,
    ) -> None:
        """Replace images, classes and prompts in one step; `query` or else the first query."""
        queries = [number for number, place in enumerate(photos) if place.role == "query"]
        if query not in range(len(photos)):
            query = queries[0] if queries else -1
        with self._lock, self.hold_sync(), self.hold_trait_notifications():
            self._list(photos)
            self.classes = list(classes)
            self.prompts = list(prompts)
            self.overlay = {}
            self.query = query

    @observe("seq")
    def _acknowledge(self, change: Bunch) -> None:
        self.ack = change.new

    @property
    def drawing(self) -> Drawing:
        """Images, classes and prompts as a value."""
        return self._drawing(self.classes, self.prompts)

    def _drawing(self, classes: Sequence[str], prompts: Sequence[dict[str, Any]]) -> Drawing:
        images = []
        for place in self._placed:
            height, width = place.photo.size
            name = str(place.photo.path or place.photo.name)
            images.append(DrawnImage(name, width, height, place.role))
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

    @validate("query")
    def _fit_query(self, proposal: Bunch) -> int:
        return proposal.value if proposal.value < len(self.images) else -1

    def to_coco(self) -> dict[str, Any]:
        """The content of `prompts.json` (`la.predict.prompts.prompts_file`)."""
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
        for place in self._placed:
            path = Path(place.photo.path or place.photo.name)
            photo_of[path.resolve()] = place.photo
        named = RelativePhotos(Path(folder), "the drawing")
        photos = []
        for image in drawing.images:
            photo = photo_of.get(Path(folder, image.file_name).resolve())
            photo = photo or Photo.open(named.find(image.file_name), "")
            if photo.size != (image.height, image.width):
                height, width = photo.size
                raise UserError(
                    f"{image.file_name} has {width} x {height} pixels, the drawing says "
                    f"{image.width} x {image.height}; put back the photograph that was drawn on"
                )
            photos.append(Placed(photo, image.role))
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
            MissingFile, UserError: see `la.predict.prompts.prompts_file.read`, `show_drawing` and
                `la.predict.prompts.from_annotations.read_annotations`.
        """
        if images is None:
            self.show_drawing(prompts_file.read(path), Path(path).parent)
        else:
            self.show_drawing(read_annotations(path, images, classes=classes))

    def save(self, path: str | Path = "prompts.json") -> Path:
        """Write `prompts.json`, and beside it the images that have no file yet."""
        path = Path(path)
        save_images([place.photo for place in self._placed], path)
        prompts_file.write(self.drawing, path)
        return path

    def load_example(self) -> None:
        """Show two generated supports with prompts of all kinds, and a query."""
        self._begin(example_state(example_episode()))

    def load_photo_example(self) -> None:
        """Show a marked photograph, and another to segment."""
        self._begin(example_state(photo_episode()))

    @property
    def command(self) -> str:
        """The shell command that segments a folder of photographs by what is drawn."""
        return predict_command(self.about.split(" · ")[0], self.file)

    def add(self, source: Source, role: Role = "support", name: str = "photo.png") -> None:
        """Show another image; a query is segmented at once.

        Raises:
            MissingFile, UserError: it is not an image; see `la.predict.prompts.photos.open_photo`.
        """
        photo = Photo.open(source, name)
        with self._lock:
            photo = self._library.setdefault(photo.id, photo)
            names = [place.photo.name for place in self._placed if place.photo is not photo]
            while photo.name in names:
                photo.name = f"another {photo.name}"
            photos = [*self._placed, Placed(photo, role)]
            query = len(photos) - 1 if role == "query" else self.query
            self._say("done", f"Added {photo.name}")
            self._show(photos, self.classes, self.prompts, query)

    def remove(self, img: int) -> None:
        """Remove an image and its prompts; undo in the editor brings both back."""
        with self._lock:
            photos = self._placed
            removed = photos.pop(img)
            prompts = []
            for prompt in self.prompts:
                if prompt["img"] != img:
                    moved = prompt["img"] - (prompt["img"] > img)
                    prompts.append({**prompt, "img": moved})
            query = -1 if self.query == img else self.query - (self.query > img)
            self._say("done", f"Removed {removed.photo.name} and its prompts")
            self._show(photos, self.classes, prompts, query)

    def _say(self, state: str, text: str) -> None:
        self.status = {"state": state, "text": text}

    def _refuse(self, text: str) -> None:
        """Say what went wrong where the progress of other work does not replace it.

        It is shown below the messages that the reader has not closed yet; an empty text closes all.
        """
        unread = self.notice.splitlines() if text else []
        self.notice = "\n".join([*(line for line in unread if line != text), text])

    def _fail(self, what: str, error: Exception) -> None:
        """Say why a message from the browser changed nothing; no work is in progress then."""
        says_what = isinstance(error, UserError)
        self._refuse(str(error) if says_what else f"{what} failed: {error}")
        self._say("idle", "")
        self.send({"do": "tell"})  # ends "Sending ..." even if the status is the same
