"""The prediction for one image: a label map, probabilities, and how sure the model is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from la import colours
from la.data.sampling.geometry import Frame
from la.files import atomic_write
from la.formats.label_maps import LabelMap, coco


@dataclass(frozen=True)
class Leads:
    """How far the best foreground class of each pixel leads, in logits."""

    best: np.ndarray  # (h, w) uint8 rows, 1 and up
    over_background: np.ndarray  # (h, w) float32, negative where background scores higher
    over_next: np.ndarray  # (h, w) float32, over the next foreground class; inf without one


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one image at its original size."""

    labels: np.ndarray  # (H, W) uint8 rows: 0 background, n the n-th of `class_names`
    class_names: tuple[str, ...]
    image: Image.Image
    frame: Frame
    logits: Tensor  # (C, h, w) over the input frame, as the decoder gave them, the bias included

    @property
    def probabilities(self) -> np.ndarray:
        """(C, H, W) float32, background first; computed at each use."""
        original = self.frame.original_logits(self.logits[None])[0]
        return original.softmax(0).numpy()

    @property
    def margins(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]: by how much the first probability exceeds the second one.

        Computed at the decoder's resolution, so that many classes on a large image fit in memory.
        """
        probabilities = self.logits.softmax(0)
        first, second = probabilities.topk(2, dim=0).values  # (h, w) each
        margins = (first - second)[None, None]  # (1, 1, h, w)
        return self.frame.original_logits(margins)[0, 0].numpy()

    def rows(self, size: tuple[int, int], bias: float = 0.0) -> np.ndarray:
        """The label map at another size (H, W), with `bias` added to the score of background."""
        logits = self.logits.clone()
        logits[0] += bias
        frame = replace(self.frame, size=size)
        scores = frame.original_logits(logits[None])[0]  # (C, H, W)
        return scores.max(0).indices.to(torch.uint8).numpy()

    def leads(self, long_side: int) -> Leads:
        """How far the best class leads, on a map of at most `long_side` pixels a side."""
        height, width = self.frame.size
        shrink = min(1.0, long_side / max(height, width))
        size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        frame = replace(self.frame, size=size)
        scores = frame.original_logits(self.logits[None])[0]  # (C, h, w)
        background, foreground = scores[0], scores[1:]
        top = foreground.topk(min(2, len(foreground)), dim=0)
        best = top.values[0]
        over_next = torch.full_like(best, torch.inf)
        if len(foreground) > 1:
            over_next = best - top.values[1]
        rows = (top.indices[0] + 1).to(torch.uint8)
        return Leads(rows.numpy(), (best - background).numpy(), over_next.numpy())

    def to_png(self, path: str | Path | None = None) -> Image.Image:
        """The label map as a palette image, index n in the colour of class n; written if `path`."""
        picture = colours.palette_png(self.labels)
        if path is not None:
            with atomic_write(Path(path)) as file:
                picture.save(file, "PNG")
        return picture

    def to_coco(self, file_name: str = "image.png") -> dict[str, Any]:
        """A COCO file's content: the image, the categories, and a mask for each class found."""
        label_map = self.label_map(file_name, self.class_names)
        return coco([label_map], self.class_names)

    def label_map(self, file_name: str, classes: Sequence[str]) -> LabelMap:
        """The label map and its margins; classes are numbered by their place in `classes`."""
        labels = label_rows(self.labels, self.class_names, classes)
        return LabelMap.of(file_name, labels, self.margins)

    def overlay(self, opacity: float = 0.6) -> Image.Image:
        """The image with the classes in colour."""
        return colours.overlay(self.image, self.labels, opacity)


def label_rows(
    labels: np.ndarray, class_names: Sequence[str], classes: Sequence[str]
) -> np.ndarray:
    """A label map (H, W) whose rows are numbered by another list of classes.

    A prediction has only the classes that carry a prompt, in the order of the examples.

    Args:
        labels: (H, W) uint8; 0 is background, n the n-th of `class_names`.
        class_names: the classes of `labels`, all of them in `classes`.
        classes: the list whose numbers the result has.
    """
    rows = [0]
    for name in class_names:
        rows.append(classes.index(name) + 1)
    table = np.array(rows, np.uint8)
    return table[labels]
