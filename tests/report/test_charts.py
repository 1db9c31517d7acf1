"""Charts show the numbers that they are given."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hand_made import with_iou
from matplotlib.collections import PathCollection
from PIL import Image

from la.report import charts
from la.report.tables import scores
from la.types import PromptKind


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


SCORES = scores(
    [
        with_iou(10 * fold + 20 * (name == "la") + seed, method=name, fold=fold, seed=seed)
        for name in ("la", "affinity", "floor")
        for fold in (0, 1)
        for seed in (0, 1)
    ]
)


def test_folds_and_means_stand_at_their_values():
    (axis,) = charts.by_fold(SCORES).axes
    dots = [c.get_offsets()[:, 0] for c in axis.collections if isinstance(c, PathCollection)]
    assert sorted(np.concatenate(dots)) == sorted(SCORES[SCORES["fold"] != "mean"]["value"])
    written = [text.get_text() for text in axis.texts]
    assert written == [f"{v:.1f}" for v in SCORES[SCORES["fold"] == "mean"]["value"]]
    assert axis.get_yticklabels()[0].get_text() == "LA" and axis.yaxis_inverted()  # on top


def test_bars_by_prompts_have_the_height_of_the_means():
    kinds = ((PromptKind.MASK,), (PromptKind.BOX,))
    tidy = scores([with_iou(30 + 10 * i, kinds=k) for i, k in enumerate(kinds)])
    (axis,) = charts.by_prompts(tidy).axes
    assert [bar.get_height() for bar in axis.patches] == [30, 40]


def test_lines_go_through_their_points_in_order():
    frame = pd.DataFrame(
        {"method": "LA", "N": [5, 1, 2], "value": [1.0, 3.0, 2.0], "half_width": np.nan}
    )
    (axis,) = charts.lines(frame, "N", {"value": "mIoU* (%)"}).axes
    x, y = axis.lines[0].get_data()
    assert list(x) == [1, 2, 5] and list(y) == [3, 2, 1]


def test_a_confusion_is_drawn_with_the_true_class_in_rows():
    names = ["background", "cat"]
    figure = charts.confusion(pd.DataFrame([[90.0, 10.0], [40.0, 60.0]], names, names))
    mesh = figure.axes[0].collections[0].get_array().reshape(2, 2)
    assert mesh[0, 1] == 10 and mesh[1, 0] == 40


def test_curves_show_every_step_and_a_median():
    run = pd.DataFrame({"step": range(50), "loss": 1.0, "norm": 2.0, "lr": 0.1})
    loss, norm, rate = charts.curves({"LA": run}).axes
    assert len(loss.lines) == len(norm.lines) == 2 and len(rate.lines) == 1


def test_a_shown_figure_is_a_png_with_words_and_is_closed():
    shown = charts.show(charts.by_fold(SCORES), "dots of three methods")
    data, metadata = shown._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "dots of three methods"
    assert Image.open(io.BytesIO(shown.data)).mode == "P"
    assert not plt.get_fignums()


def test_the_same_method_has_the_same_colour_in_every_chart():
    first = charts._colours(["Affinity", "LA"])
    second = charts._colours(["Prototype", "LA", "Ridge classifier"])
    assert first["LA"] == second["LA"]
    assert len(set(second.values())) == 3
