"""What examples chosen by clustering gain over random ones: the parts of the page `choosing`."""

from collections.abc import Callable

import pandas as pd

from la.experiment.methods import label
from la.report.pages.gains import gains, in_words
from la.report.pages.studies import Study
from la.report.verdicts.finding import Finding

METHODS = ("la", "threshold_prototype")
WAYS = ("chosen", "random")
EXTREMES = 5  # classes that are listed at each end


def finding(study: Study) -> Finding:
    """The gain of LA for each number of examples, in a sentence."""
    text = in_words(gains(study))
    return Finding(f"Examples chosen by clustering change LA's IoU by {text}.")


def extremes(study: Study, class_name: Callable[[int], str]) -> pd.DataFrame:
    """The classes that gain most and least with one example for LA, in percent.

    Args:
        study: of examples that are chosen, against random ones.
        class_name: gives the name of a class id.
    """
    classes = study.classes
    is_shown = (classes["method"] == label("la")) & (classes["k_shots"] == classes["k_shots"].min())
    one = classes[is_shown]
    names = {way: f"{way}, IoU (%)" for way in WAYS}
    table = one[list(names)].rename(columns=names)
    table["gain (points)"] = study.gain[is_shown]
    table.index = pd.Index(map(class_name, one["class_id"]), name="class")
    table = table.sort_values("gain (points)", ascending=False).round(1)
    if len(table) <= 2 * EXTREMES:
        return table
    return pd.concat([table.head(EXTREMES), table.tail(EXTREMES)])
