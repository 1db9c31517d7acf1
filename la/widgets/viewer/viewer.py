"""PredictionViewer: evaluated episodes, worst first, with their prompts, maps and errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ipywidgets import DOMWidget, widget_serialization
from PIL import Image
from traitlets import Bunch, Dict, Instance, Int, List, Unicode

from la.errors import UserError
from la.predict.prompts.drawing import vector_prompts
from la.predict.prompts.vector_prompts import VectorPrompt, to_json
from la.report.figures.pictures import EpisodePicture, episode_strip
from la.types import IGNORE
from la.widgets.editor import PromptEditor
from la.widgets.page.browser import Widget, as_picture, plane, to_browser
from la.widgets.photographs.photos import LivePredictor

HEAT_SIDE = 256  # long side of probability and attention maps on their way to the browser


@dataclass(frozen=True)
class EpisodeRecord:
    """One evaluated episode; C counts background and classes, S the supports."""

    picture: EpisodePicture  # with its truth and prediction
    probabilities: np.ndarray | None = None  # (C, h, w) in [0, 1]
    attention: np.ndarray | None = None  # (S, h, w), where supports resemble the prediction
    prototypes: np.ndarray | None = None  # (C, 2), projected to the plane

    @property
    def iou(self) -> float:
        """Mean over the classes; 1 if neither truth nor prediction has any foreground."""
        numbers = [iou for iou in self.picture.iou if iou == iou]  # NaN is not equal to itself
        return float(np.mean(numbers)) if numbers else 1.0

    @property
    def truth_and_prediction(self) -> tuple[np.ndarray, np.ndarray]:
        """Both label maps (H, W); the truth holds IGNORE where it does not count."""
        truth, prediction = self.picture.target, self.picture.prediction
        assert truth is not None and prediction is not None
        return truth, prediction

    @property
    def prompts(self) -> list[dict[str, Any]]:
        """The vector prompts of all supports, as JSON objects."""
        prompts: list[VectorPrompt] = []
        for number, support in enumerate(self.picture.supports):
            for row, drawn in support.prompts.items():
                prompts += vector_prompts(drawn, number, row)
        return to_json(prompts)

    @property
    def mistake(self) -> str:
        """What most of the wrong pixels are: missed, false alarm, confused; empty without any."""
        truth, prediction = self.truth_and_prediction
        wrong = (truth != prediction) & (truth != IGNORE)
        missed = wrong & (prediction == 0)
        false_alarm = wrong & (truth == 0)
        confused = wrong & ~missed & ~false_alarm
        counts = {"missed": missed, "false alarm": false_alarm, "confused": confused}
        pixels = {name: int(mask.sum()) for name, mask in counts.items()}
        return max(pixels, key=lambda name: pixels[name]) if wrong.any() else ""

    @property
    def kind(self) -> str:
        """What the supports are prompted with: mask, box, point, or mixed."""
        kinds = {prompt["type"] for prompt in self.prompts}
        return "mixed" if len(kinds) > 1 else kinds.pop()


class PredictionViewer(Widget):
    """Episodes sorted by IoU, to filter and step through; a PromptEditor uses the `predictor`.

    With `others`, the records of another method on the same episodes, those on which the two
    differ most can be listed first, and the other prediction is a layer.

    Raises:
        UserError: there are no records, or `others` has other episodes.
    """

    view = Unicode("viewer").tag(sync=True)
    table = List(Dict()).tag(sync=True)  # name, iou, classes, ... of every episode
    index = Int(0).tag(sync=True)
    episode = Dict().tag(sync=True)  # images, prompts and maps of the one that is shown
    opened = Instance(DOMWidget, allow_none=True).tag(sync=True, **widget_serialization)

    def __init__(
        self,
        records: Iterable[EpisodeRecord],
        predictor: LivePredictor | None = None,
        others: Iterable[EpisodeRecord] = (),
    ) -> None:
        self._records = sorted(records, key=lambda record: record.iou)
        self._predictor = predictor
        if not self._records:
            raise UserError("no episodes to show; evaluate some first")
        self._others = {record.picture.number: record for record in others}
        numbers = {record.picture.number for record in self._records}
        if self._others and self._others.keys() != numbers:
            raise UserError("the records of the other method are of other episodes")
        super().__init__()
        self.table = [self._row(record) for record in self._records]
        self.observe(self._show, "index")
        self.on_msg(lambda _widget, content, _buffers: self.open_editor())
        self._show()

    def _row(self, record: EpisodeRecord) -> dict[str, Any]:
        other = self._others.get(record.picture.number)
        return {
            "name": f"episode {record.picture.number}",
            "iou": record.iou,
            "other": None if other is None else other.iou,
            "kind": record.kind,
            "mistake": record.mistake,
            "classes": list(record.picture.class_names),
        }

    def _show(self, _change: Bunch | None = None) -> None:
        record = self._records[self.index]
        picture = record.picture
        truth, prediction = record.truth_and_prediction
        images = [*(support.image for support in picture.supports), picture.query]
        other = self._others.get(picture.number)
        other_planes = [] if other is None else [plane(other.truth_and_prediction[1])]
        self.episode = {
            "index": self.index,
            "images": [to_browser(image) for image in images],
            "classes": list(picture.class_names),
            "prompts": record.prompts,
            "ious": [iou if iou == iou else None for iou in picture.iou],
            "truth": plane(np.where(truth == IGNORE, 255, truth)),
            "prediction": plane(prediction),
            "other": other_planes,
            "probabilities": _heat(record.probabilities, 1.0),
            "attention": _heat(record.attention, None),
            "prototypes": [] if record.prototypes is None else record.prototypes.tolist(),
        }

    def open_editor(self) -> PromptEditor:
        """A PromptEditor with this episode's images, classes, prompts and truth, shown below."""
        record = self._records[self.index]
        earlier = self.opened
        self.opened = PromptEditor(
            support=[support.image for support in record.picture.supports],
            queries=[record.picture.query],
            classes=record.picture.class_names,
            prompts=record.prompts,
            predictor=self._predictor,
        )
        truth, _ = record.truth_and_prediction
        self.opened.show_truth(truth, self.opened.query)
        if earlier is not None:
            earlier.close()
        return self.opened

    def snapshot(self, timeout: float = 0) -> Image.Image:
        """The worst episodes as a picture."""
        worst = [record.picture for record in self._records[:4]]
        return as_picture(episode_strip(worst), "Worst first")

    def close(self) -> None:
        """Remove the viewer, its records and the editor that it opened."""
        if self.opened is not None:
            self.opened.close()
        self._records = []
        self._others = {}
        self._predictor = None
        super().close()


def _heat(maps: np.ndarray | None, top: float | None) -> list[dict[str, Any]]:
    """Maps (n, h, w) as planes of bytes, 255 at `top` or at the largest value of all."""
    if maps is None:
        return []
    top = top or float(maps.max()) or 1.0
    shares = (maps / top).clip(0, 1)
    return [plane(share * 255, HEAT_SIDE) for share in shares]
