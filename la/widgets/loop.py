"""The loop over photographs: previews, predictions as editable masks, least sure first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import traitlets
from ipywidgets import Layout
from traitlets import Bunch, Dict, Float, List, observe

from la.errors import UserError
from la.predict.prediction import Prediction, label_rows
from la.predict.predictor import Predictor
from la.predict.prompts.vector_prompts import from_json, mask_prompt, to_json
from la.types import IGNORE
from la.widgets.drawing import DrawingWidget
from la.widgets.models import ModelLoader, offered
from la.widgets.page.browser import LONG_SIDE, plane
from la.widgets.photographs.photos import Photo
from la.widgets.photographs.supports import SupportCache
from la.widgets.photographs.worker import Worker
from la.widgets.saved.autosave import State
from la.widgets.scores import scores
from la.wording import counted


class LoopWidget(DrawingWidget):
    """What a `PromptEditor` does with predictions beyond displaying them."""

    threshold = Float(0).tag(sync=True)  # logits that a class needs over background
    reviewed = Dict().tag(sync=True)  # by id of a photograph: accepted, corrected or skipped
    sure = Dict().tag(sync=True)  # by id: how sure the model is, in [0, 1]
    models = List(Dict()).tag(sync=True)  # that the reader can choose, see `la.widgets.models`
    truth = Dict().tag(sync=True)  # the label map of a query where it is known, and its number
    predictor = traitlets.Any()  # a LivePredictor or None; another one encodes the images again

    def __init__(self, state: State, layout: Layout) -> None:
        self._support: Any = None
        self._prediction: Prediction | None = None  # of the query, at the displayed size
        self._labels: np.ndarray | None = None  # its label map, as the threshold has it
        self._hovering: dict[str, Any] = {}  # the prompt under the pointer
        self._preview_supports = SupportCache()
        super().__init__(state, layout)
        self.reviewed = dict(state.reviewed)
        self.threshold = state.threshold
        self.models = offered()
        self._models = ModelLoader(self._say, self._refuse, self._use)
        self._previews = Worker(self._preview, self._lock)
        self._ranking = Worker(self._rank, self._lock)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the newest prompts are predicted; False if `timeout` seconds pass first."""
        raise NotImplementedError

    def _answer(self, content: dict[str, Any]) -> None:
        """Answer a message from the browser."""
        match content["do"]:
            case "preview":
                self._hovering = content["prompt"]
                self._previews.ask()
            case "adopt":
                self.adopt(content["img"])
            case "rank":
                self.rank()
            case "model":
                self._models.choose(content["name"])

    def _use(self, predictor: Predictor) -> None:
        """Segment with another model, which is on this machine now."""
        self.predictor = predictor
        self.models = offered()

    def adopt(self, img: int) -> None:
        """Replace the prompts on the query by masks of what is predicted, so it is an example.

        Raises:
            UserError: nothing is predicted for this photograph, or no class was found on it.
        """
        self.wait()
        prediction = self._prediction
        photo = self._placed[img].photo
        if prediction is None or self.overlay.get("img") != img:
            raise UserError(f"nothing is predicted for {photo.name}; draw a prompt first")
        labels = self._labels_of(prediction, photo.size, self.classes)
        masks = []
        for row in np.unique(labels[labels > 0]).tolist():
            masks.append(mask_prompt(labels == row, img, row))
        if not masks:
            raise UserError(f"no class was found on {photo.name}; lower the threshold, or draw")
        others = [prompt for prompt in self.prompts if prompt["img"] != img]
        self.prompts = [*others, *to_json(masks)]

    def _display(
        self, prediction: Prediction, classes: Sequence[str], answers: dict[str, int]
    ) -> None:
        """Send a prediction to the browser; `answers` says for which image and edit it is."""
        size = prediction.labels.shape
        self._prediction = prediction
        self._labels = self._labels_of(prediction, size, classes)
        labels = label_rows(prediction.labels, prediction.class_names, classes)
        self.overlay = {**answers, **plane(labels), **scores(prediction, classes)}

    def _labels_of(
        self, prediction: Prediction, size: tuple[int, int], classes: Sequence[str]
    ) -> np.ndarray:
        """The label map (H, W) with the rows of `classes`, as the threshold has it."""
        labels = prediction.labels
        if self.threshold or labels.shape != size:
            labels = prediction.rows(size, self.threshold)
        return label_rows(labels, prediction.class_names, classes)

    def show_truth(self, labels: np.ndarray, img: int) -> None:
        """Outline the true label map (H, W) of an image; the page shows the IoU of each class."""
        marked = np.where(labels == IGNORE, 255, labels)
        self.truth = {"img": img, **plane(marked)}

    @observe("threshold")
    def _relabel(self, _change: Bunch) -> None:
        prediction = self._prediction
        if prediction is not None and set(prediction.class_names) <= set(self.classes):
            size = prediction.labels.shape
            self._labels = self._labels_of(prediction, size, self.classes)

    def rank(self) -> None:
        """Start to segment all queries, so that `sure` shows for which the model is least sure."""
        self._ranking.ask()

    def _rank(self) -> None:
        try:
            queries = [place.photo for place in self._placed if place.role == "query"]
            for number, photo in enumerate(queries, 1):
                self.wait()  # what is being drawn comes first
                predictor = self.predictor
                if predictor is None or self._support is None:
                    raise UserError("draw a prompt first; then the model can segment all photos")
                self._say("busy", f"Segmenting {number} of {len(queries)}: {photo.name}")
                encoded = photo.encoded  # 1,000 encoded photographs would not fit in memory
                if encoded is None or photo.encoded_by != predictor.describe()["hash"]:
                    encoded = predictor.encode(photo.image, LONG_SIDE)
                prediction = predictor.predict(encoded, self._support)
                self.sure = {**self.sure, photo.id: float(prediction.margins.mean())}
            self._say("done", f"{counted(len(queries), 'photo')}, least sure first")
        except Exception as error:  # any exception would silently end the thread
            self._refuse(f"Sorting the photos failed: {error}")

    def _preview(self) -> None:
        """Send the label map that one more prompt, under the pointer, would give."""
        prompt = self._hovering
        content = {"do": "preview", "prompt": prompt, "img": self.query}
        buffers: list[Any] = []
        try:
            prediction = self._predicted_with(prompt)
            if prediction is not None:
                size = (prediction.image.height, prediction.image.width)
                labels = plane(self._labels_of(prediction, size, self.classes))
                content["size"] = labels["size"]
                buffers.append(labels["data"])
        except Exception as error:  # any exception would silently end the thread
            self._refuse(f"The preview failed: {error}")
        self.send(content, buffers)

    def _predicted_with(self, prompt: dict[str, Any]) -> Prediction | None:
        """None if it would take an encoding: the pointer would be elsewhere by then."""
        with self._lock:
            predictor = self.predictor
            photos = [place.photo for place in self._placed]
            prompts = (*self.drawing.prompts, *from_json([prompt]))
            drawing = replace(self.drawing, prompts=prompts)
            query = self.query
        needed = {query, *(prompt.img for prompt in prompts)}
        if predictor is None or query < 0:
            return None
        if any(photos[img].encoded is None for img in needed):
            return None
        support = self._preview_supports.support(predictor, drawing, photos, _encoding)
        return predictor.predict(photos[query].encoded, support)


def _encoding(photo: Photo) -> Any:
    return photo.encoded
