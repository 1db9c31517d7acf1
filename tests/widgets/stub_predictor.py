"""A predictor that segments bands, counts its calls, and can be slow or fail."""

import threading
import time
from types import SimpleNamespace

import numpy as np


class Stub:
    """`encode`, `support`, `predict` and `describe` as the editor calls them."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.fail, self.encoded, self.asked = seconds, None, 0, []
        self.go = threading.Event()  # cleared, it keeps whoever asks waiting
        self.go.set()

    @staticmethod
    def labels(size: tuple[int, int], n_classes: int) -> np.ndarray:
        """Rows 1, 2, .. as horizontal bands in the left half, background at the right."""
        height, width = size
        rows = 1 + np.arange(height) * n_classes // height
        return np.where(np.arange(width) < width // 2, rows[:, None], 0).astype(np.uint8)

    def describe(self) -> dict:
        return {"name": "stub", "hash": "0123abcd", "trained_on": "nothing"}

    def encode(self, image):
        self.encoded += 1
        return SimpleNamespace(size=image.size[::-1])

    def support(self, examples):
        self.asked.append(examples)
        time.sleep(self.seconds)
        assert self.go.wait(120)
        if self.fail:
            raise self.fail
        return tuple(dict.fromkeys(name for _, prompts in examples for name in prompts))

    def predict(self, image, support):
        labels = self.labels(image.size, len(support))
        return SimpleNamespace(labels=labels, class_names=support)
