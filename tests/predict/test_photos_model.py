"""The shipped model for photographs, on two photographs of scikit-learn (CC BY 2.0)."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import la
from la.predict.example import photo_episode
from la.types import PromptKind


@pytest.fixture(scope="module")
def predictor():
    return la.Predictor(la.load("photos"))


def is_warm(image: Image.Image) -> np.ndarray:
    """(H, W) bool: the flower is orange, all around it is green and blue."""
    red, _, blue = np.moveaxis(np.array(image, int), -1, 0)
    return red > blue + 25


@pytest.mark.parametrize("kind", list(PromptKind))
def test_a_marked_flower_is_found_again_and_nothing_in_a_temple(predictor, kind):
    example = photo_episode()
    (flower, boxes), _ = example.examples
    prompt = {
        PromptKind.MASK: is_warm(flower),
        PromptKind.BOX: boxes["flower"][0],
        PromptKind.POINT: la.Point(300, 180),
    }[kind]
    support = predictor.support([(flower, {"flower": [prompt]})])
    painted = predictor.predict(example.query, support).labels == 1
    truth = example.target == 1
    assert (painted & truth).sum() / (painted | truth).sum() > 0.7
    temple = Image.fromarray(load_sample_images().images[0])
    assert (predictor.predict(temple, support).labels == 1).mean() < 0.02


def test_the_model_says_what_it_was_trained_on_and_warns_of_nothing(predictor, caplog):
    predictor.encode(photo_episode().query)
    assert not caplog.messages
    assert "all classes" in predictor.describe()["trained_on"]
