"""Differences of class scores as bytes, so that the page can move the threshold itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from la.predict.prediction import Prediction, label_rows
from la.widgets.page.browser import plane

STEPS = 16  # of a byte in one logit
LONG_SIDE = 512  # the decoder has fewer cells than that


def scores(prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
    """Three maps beside the label map of `PromptEditor.overlay`.

    `best` has the row of the best foreground class, `lead` its logit less that of background
    (128 is 0), `next` its logit less that of the second best foreground class.
    """
    leads = prediction.leads(LONG_SIDE)
    best = label_rows(leads.best, prediction.class_names, classes)
    over_background = np.rint(leads.over_background * STEPS) + 128
    over_next = np.rint(leads.over_next * STEPS)
    return {
        "best": plane(best),
        "lead": plane(over_background.clip(0, 255)),
        "next": plane(over_next.clip(0, 255)),
    }
