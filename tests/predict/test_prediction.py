"""Label maps at other sizes and with a threshold, and by how much classes lead."""

import numpy as np
import pytest
import torch

from la.data.sampling.geometry import Frame
from la.predict.prediction import Prediction


@pytest.fixture
def prediction() -> Prediction:
    logits = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    frame = Frame((40, 60), 64, "pad")
    scores = frame.original_logits(logits[None])[0]
    labels = scores.argmax(0).to(torch.uint8).numpy()
    return Prediction(labels, ("a", "b", "c"), None, frame, logits)


def test_rows_without_bias_at_the_same_size_are_the_labels(prediction):
    assert np.array_equal(prediction.rows((40, 60)), prediction.labels)


def test_a_bias_gives_the_pixels_that_lead_by_less_to_background(prediction):
    leads = prediction.leads(60)
    for bias in (-1.0, 0.5, 2.0):
        expected = np.where(leads.over_background > bias, leads.best, 0)
        assert np.array_equal(prediction.rows((40, 60), bias), expected)


def test_leads_are_differences_of_sorted_scores(prediction):
    leads = prediction.leads(30)
    assert leads.best.shape == (20, 30)
    frame = Frame((20, 30), 64, "pad")
    scores = Frame.original_logits(frame, prediction.logits[None])[0].numpy()
    for y, x in np.ndindex(20, 30):
        background, *foreground = scores[:, y, x]
        second, first = sorted(foreground)[-2:]
        assert leads.best[y, x] == 1 + int(np.argmax(foreground))
        assert leads.over_background[y, x] == pytest.approx(first - background, abs=1e-5)
        assert leads.over_next[y, x] == pytest.approx(first - second, abs=1e-5)


def test_a_single_class_leads_over_no_other(prediction):
    one = Prediction(
        prediction.labels, ("a",), None, prediction.frame, prediction.logits[:2].clone()
    )
    assert np.isinf(one.leads(60).over_next).all()
