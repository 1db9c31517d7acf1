"""PredictionViewer: evaluated episodes, worst first, with what the model saw and where it erred."""

from dataclasses import dataclass
from io import BytesIO

import anywidget
import numpy as np
from ipywidgets import DOMWidget, widget_serialization
from matplotlib.figure import Figure
from PIL import Image
from traitlets import Dict, Instance, Int, List, Unicode

from la.colours import OKABE_ITO
from la.plotting import draw_labels
from la.types import IGNORE, check_shapes
from la.widgets.editor import HERE, PromptEditor, jpeg, plane, static_form

HEAT_SIDE = 256  # long side of probability and attention maps on their way to the browser


@dataclass(frozen=True)
class EpisodeRecord:
    """One evaluated episode, as arrays; C counts background and classes, S the supports."""

    name: str
    query: np.ndarray  # (H, W, 3) uint8
    truth: np.ndarray  # (H, W) rows of C, or IGNORE
    prediction: np.ndarray  # (H, W) rows of C
    class_names: tuple[str, ...]  # of rows 1 .. C - 1
    supports: tuple[np.ndarray, ...]  # each (H, W, 3) uint8
    prompts: tuple[dict, ...]  # of `la.data.drawn`; a raster through `mask_prompt`
    kind: str  # what the support was prompted with: mask, box, point, or mixed
    probabilities: np.ndarray | None = None  # (C, h, w) in [0, 1]
    attention: np.ndarray | None = None  # (S, h, w), where on the supports the model looks
    prototypes: np.ndarray | None = None  # (C, 2), projected to the plane

    def __post_init__(self) -> None:
        rows, images = len(self.class_names) + 1, len(self.supports)
        wanted = {
            "query": (self.query, "H W 3"),
            "truth": (self.truth, "H W"),
            "prediction": (self.prediction, "H W"),
            "probabilities": (self.probabilities, f"{rows} h w"),
            "attention": (self.attention, f"{images} i j"),
            "prototypes": (self.prototypes, f"{rows} 2"),
        }
        check_shapes(self.name, **{k: v for k, v in wanted.items() if v[0] is not None})

    @property
    def ious(self) -> list[float | None]:
        """IoU of each class where the truth counts; None where neither has the class."""
        valid, out = self.truth != IGNORE, []
        for n in range(1, len(self.class_names) + 1):
            truth, guess = (valid & (rows == n) for rows in (self.truth, self.prediction))
            union = int((truth | guess).sum())
            out.append(int((truth & guess).sum()) / union if union else None)
        return out

    @property
    def iou(self) -> float:
        """Mean of `ious`, 1 where nothing was to be found and nothing was."""
        known = [iou for iou in self.ious if iou is not None]
        return sum(known) / len(known) if known else 1.0


class PredictionViewer(anywidget.AnyWidget):
    """Episodes sorted by IoU, to filter and step through; `predictor` serves the PromptEditor.

    Raises:
        ValueError: there are no records.
    """

    _esm = (HERE / "editor.js").read_text()
    _css = (HERE / "editor.css").read_text()
    view = Unicode("viewer").tag(sync=True)
    palette = List(list(OKABE_ITO)).tag(sync=True)
    table = List().tag(sync=True)  # name, iou, classes and kind of every episode
    index = Int(0).tag(sync=True)
    episode = Dict().tag(sync=True)  # images, prompts and maps of the one that is shown
    opened = Instance(DOMWidget, allow_none=True).tag(sync=True, **widget_serialization)

    def __init__(self, records, predictor=None) -> None:
        self._records = sorted(records, key=lambda record: record.iou)
        self._predictor = predictor
        if not self._records:
            raise ValueError("no episodes to show; evaluate some first")
        super().__init__(
            table=[
                {"name": r.name, "iou": r.iou, "classes": list(r.class_names), "kind": r.kind}
                for r in self._records
            ]
        )
        self.observe(self._show, "index")
        self.on_msg(lambda _widget, content, _buffers: self.open_editor())
        self._show()

    def _show(self, _change=None) -> None:
        record = self._records[self.index]
        pictures = [*record.supports, record.query]
        images = [
            {"file_name": f"support {i}" if i <= len(record.supports) else "query"}
            | {"width": picture.shape[1], "height": picture.shape[0]}
            | {"jpeg": jpeg(Image.fromarray(picture))}
            for i, picture in enumerate(pictures, 1)
        ]
        self.episode = {
            "index": self.index,
            "images": images,
            "classes": list(record.class_names),
            "prompts": list(record.prompts),
            "ious": record.ious,
            "truth": plane(np.where(record.truth == IGNORE, 255, record.truth)),
            "prediction": plane(record.prediction),
            "probabilities": _heat(record.probabilities, 1.0),
            "attention": _heat(record.attention, None),
            "prototypes": [] if record.prototypes is None else record.prototypes.tolist(),
        }

    def open_editor(self) -> PromptEditor:
        """A PromptEditor with this episode's images, classes and prompts, shown below."""
        record, before = self._records[self.index], self.opened
        images, names = (record.supports, [record.query]), record.class_names
        self.opened = PromptEditor(*images, names, record.prompts, self._predictor)
        if before is not None:
            before.close()
        return self.opened

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and the worst episodes as a picture for where no kernel runs."""
        shown = self._records[:4]
        figure = Figure((2.2 * len(shown), 4.6), dpi=80, layout="constrained")
        figure.suptitle("Worst first; live in JupyterLab: run this cell", fontsize=10)
        for column, record in enumerate(shown):
            rows = (("truth", np.where(record.truth == IGNORE, 0, record.truth)),)
            rows += ((f"prediction, IoU {record.iou:.2f}", record.prediction),)
            for row, (title, labels) in enumerate(rows):
                axes = figure.add_subplot(2, len(shown), row * len(shown) + column + 1)
                draw_labels(axes, Image.fromarray(record.query), labels)
                axes.set_title(title, fontsize=8)
                axes.axis("off")
        out = BytesIO()
        figure.savefig(out, format="png")
        return static_form(super()._repr_mimebundle_(**kwargs), Image.open(out), "PredictionViewer")

    def close(self) -> None:
        """Remove the viewer, its records and the editor that it opened."""
        if self.opened is not None:
            self.opened.close()
        self._records, self._predictor = [], None
        super().close()


def _heat(maps: np.ndarray | None, top: float | None) -> list[dict]:
    """Maps (n, h, w) as planes of bytes, 255 at `top` or at the largest value of all."""
    if maps is None:
        return []
    top = top or float(maps.max()) or 1.0
    return [plane(np.clip(m / top, 0, 1) * 255, HEAT_SIDE) for m in maps]
