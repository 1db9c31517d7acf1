"""A predictor that segments bands, counts its calls, and can be slow or fail."""

import threading
import time
from types import SimpleNamespace

import numpy as np
from PIL import Image

from la.predict.prediction import Leads


class Stub:
    """`encode`, `support`, `predict` and `describe` as the editor calls them."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.fail, self.encoded = seconds, None, 0
        self.asked, self.supports = [], 0  # examples of each set; how many were computed
        self.go = threading.Event()  # while it is cleared, predictions wait
        self.go.set()

    @staticmethod
    def labels(size: tuple[int, int], n_classes: int) -> np.ndarray:
        """Rows 1, 2, .. as horizontal bands in the left half, background at the right."""
        height, width = size
        rows = 1 + np.arange(height) * n_classes // height
        return np.where(np.arange(width) < width // 2, rows[:, None], 0).astype(np.uint8)

    def describe(self) -> dict:
        return {"name": "stub", "hash": "0123abcd", "trained_on": "nothing"}

    examples_interact = False

    def encode(self, image, long_side=None):
        self.encoded += 1
        return SimpleNamespace(size=image.size[::-1])

    def support(self, examples, class_names):
        self.supports += 1
        return SimpleNamespace(examples=examples, class_names=tuple(class_names))

    def join(self, supports):
        self.asked.append([example for support in supports for example in support.examples])
        time.sleep(self.seconds)
        assert self.go.wait(120)
        if self.fail:
            raise self.fail
        return supports[0].class_names

    def predict(self, image, support):
        size = image.size[::-1] if isinstance(image, Image.Image) else image.size
        return Bands(size, support)


class Bands:
    """A prediction of bands: they lead over background by 2 logits, and by 1 over each other."""

    def __init__(self, size: tuple[int, int], class_names: tuple[str, ...]) -> None:
        self.size, self.class_names = size, class_names
        self.labels = Stub.labels(size, len(class_names))
        self.image = SimpleNamespace(height=size[0], width=size[1])
        self.margins = np.full(size, 0.5, np.float32)

    def rows(self, size, bias=0.0):
        return Stub.labels(size, len(self.class_names)) * (bias < 2)

    def leads(self, long_side):
        shrink = min(1, long_side / max(self.size))
        size = tuple(max(1, round(side * shrink)) for side in self.size)
        labels = Stub.labels(size, len(self.class_names))
        over_background = np.where(labels, 2.0, -2.0)
        return Leads(np.maximum(labels, 1), over_background, np.ones(size))
