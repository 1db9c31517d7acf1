"""Small photographs, and a predictor with fresh weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from la.model.label_anything import LabelAnything
from la.predict.predictor import Predictor
from la.profiles import profile
from la.types import ModelCard


@pytest.fixture
def photo():
    """Makes an image of random colours: `photo(seed, (H, W))`."""

    def make(seed: int, size: tuple[int, int] = (40, 60)) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        return Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)

    return make


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    generator = torch.Generator().manual_seed(0)
    model = LabelAnything.from_config(profile("quick").model, generator).eval()
    return Predictor(model, ModelCard("fresh", "ab" * 32, "nothing"))
