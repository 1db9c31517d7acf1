"""The photographs of an editor, in step with the browser."""

import threading
from collections.abc import Sequence
from typing import Any

from ipywidgets import Layout
from PIL import Image
from traitlets import Bunch, Dict, List, TraitError, validate

from la.widgets.page.browser import Widget
from la.widgets.photographs.photos import Photo, Placed


class AlbumWidget(Widget):
    """Photographs as the page lists them; it requests their pixels when it displays them.

    The list is sent whole at first. After that a photograph that is added is sent alone, because
    the list of a thousand takes 100 kB. The browser may also set the list, by the ids of
    photographs that were displayed before, so that a removed photograph comes back by undo.
    """

    listed = List(Dict()).tag(sync=True)  # id, file_name, original width and height, role
    added = List(Dict()).tag(sync=True)  # the photographs after those

    def __init__(self, layout: Layout) -> None:
        # Held while images and prompts change together.
        self._lock = threading.RLock()
        self._library: dict[str, Photo] = {}  # all that were ever displayed, by id
        super().__init__(layout=layout)

    @property
    def images(self) -> list[dict[str, Any]]:
        """The displayed photographs, each as `Placed.entry` describes it."""
        return [*self.listed, *self.added]

    @property
    def photos(self) -> list[Image.Image]:
        """The images at their original sizes, as `images` lists them; each call decodes them."""
        return [place.photo.image for place in self._placed]

    def _list(self, photos: Sequence[Placed]) -> None:
        """Display these photographs."""
        for place in photos:
            self._library.setdefault(place.photo.id, place.photo)
        entries = [place.entry for place in photos]
        n_listed = len(self.listed)
        if n_listed and entries[:n_listed] == self.listed:
            self.added = entries[n_listed:]
        else:
            self.listed, self.added = entries, []

    @property
    def _placed(self) -> list[Placed]:
        """The displayed photographs, as `images` lists them."""
        return [self._place(entry) for entry in self.images]

    @property
    def _removed(self) -> list[Placed]:
        """The photographs that were displayed before; undo sends their ids with their roles."""
        displayed = {entry["id"] for entry in self.images}
        photos = [photo for id, photo in self._library.items() if id not in displayed]
        return [Placed(photo, "support") for photo in photos]

    def _place(self, entry: dict[str, Any]) -> Placed:
        photo = self._library.get(entry.get("id", ""))
        if photo is None or entry.get("role") not in ("support", "query"):
            raise TraitError(f"{entry.get('file_name')} is not a photograph of this editor")
        return Placed(photo, entry["role"])

    @validate("listed", "added")
    def _fit_entries(self, proposal: Bunch) -> list[dict[str, Any]]:
        return [self._place(entry).entry for entry in proposal.value]
