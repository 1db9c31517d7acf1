"""Names of classes are drawn as they are, whatever matplotlib would make of them."""

import warnings
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from la.report.figures.error_charts import confusion
from la.report.figures.lettering import literal
from la.report.figures.pictures import EpisodePicture, SupportPicture, episode_strip

NAMES = ("$$", "$x^{$", "a_b^c", "_hidden", "dog's <b>ear</b> & \\alpha", "猫 house", "füß")


def drawn(figure: Figure) -> None:
    """Draw a figure with warnings as errors: a missing letter is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(BytesIO(), format="png", dpi=50)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_letter_by_letter(name):
    figure = Figure()
    axis = figure.add_subplot()
    axis.plot([0, 1], label=literal(name))
    legend = axis.legend()
    drawn(figure)
    (text,) = legend.get_texts()
    shown, is_formula = text._preprocess_math(text.get_text())
    assert not is_formula
    assert shown.lstrip() == name.replace("猫", r"\u732b")


def test_figures_of_any_names_can_be_drawn():
    n = len(NAMES)
    names = ["background", *NAMES]
    drawn(confusion(pd.DataFrame(np.full((n + 1, n + 1), 10.0), names, names)))
    query = Image.new("RGB", (30, 20))
    labels = np.arange(600).reshape(20, 30) // 80
    support = SupportPicture(query, {})
    shown = EpisodePicture(0, NAMES, (support,), query, labels, labels)
    drawn(episode_strip([shown], "LA"))
