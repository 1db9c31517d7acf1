"""What went wrong in evaluated episodes, by kind of mistake, class, size and prompt."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from la.types import IGNORE
from la.widgets.viewer.viewer import EpisodeRecord
from la.wording import counted

SIZES = {"small": 0.02, "medium": 0.1, "large": 1.0}  # largest share of the query's pixels
KINDS = {
    "missed": "objects that were missed",
    "confused": "objects that were taken for another class",
    "false alarms": "background that was taken for a class",
}


def per_class(records: Sequence[EpisodeRecord]) -> pd.DataFrame:
    """One row for each class of each episode; the counts are pixels of the query.

    `missed` and `confused` are pixels of the class, `false alarms` are pixels of background that
    were given to it. `taken for` names the class that most of the confused pixels were given to.
    """
    rows = []
    for record in records:
        truth, prediction = record.truth_and_prediction
        counted = truth != IGNORE
        names = record.picture.class_names
        confusion = np.zeros((len(names) + 1, len(names) + 1), int)
        np.add.at(confusion, (truth[counted], prediction[counted]), 1)
        for number, name in enumerate(names, 1):
            of_class = confusion[number]
            others = of_class.copy()
            others[[0, number]] = 0
            rows.append(
                {
                    "episode": record.picture.number,
                    "class": name,
                    "prompt": record.kind,
                    "size": _size(of_class.sum() / confusion.sum()),
                    "right": of_class[number],
                    "painted": confusion[:, number].sum(),
                    "pixels": of_class.sum(),
                    "missed": of_class[0],
                    "confused": others.sum(),
                    "false alarms": confusion[0, number],
                    "taken for": names[others.argmax() - 1] if others.any() else "",
                }
            )
    return pd.DataFrame(rows)


def _size(share: float) -> str:
    if share == 0:
        return "absent"
    return next(name for name, most in SIZES.items() if share <= most)


def by(column: str, classes: pd.DataFrame) -> pd.DataFrame:
    """IoU and mistakes of `per_class` for each value of a column, lowest IoU first.

    Pixels are summed before they are divided; all numbers but `n` are in percent. `missed` and
    `confused` are shares of the pixels of the objects, `false alarms` of what was painted.
    """
    groups = classes.groupby(column, sort=False)
    sums = groups[["right", "painted", "pixels", *KINDS]].sum()
    union = sums["painted"] + sums["pixels"] - sums["right"]
    table = pd.DataFrame(
        {
            "n": groups.size(),
            "IoU": 100 * sums["right"] / union.where(union > 0),
            "missed": 100 * sums["missed"] / sums["pixels"].where(sums["pixels"] > 0),
            "confused": 100 * sums["confused"] / sums["pixels"].where(sums["pixels"] > 0),
            "false alarms": 100 * sums["false alarms"] / sums["painted"].where(sums["painted"] > 0),
        }
    )
    return table.round(1).sort_values("IoU", kind="stable")


def finding(records: Sequence[EpisodeRecord]) -> str:
    """One bold sentence in Markdown: what went wrong most, and with which class."""
    classes = per_class(records)
    wrong = classes[list(KINDS)].sum()
    if not wrong.sum():
        return f"**In {counted(len(records), 'episode')} every pixel is right.**"
    n_episodes = counted(len(records), "episode")
    most = str(wrong.idxmax())
    share = 100 * wrong[most] / wrong.sum()
    of_class = by("class", classes)
    displayed = of_class[of_class["missed"].notna()]  # by a query; the others can only be wrong
    if displayed.empty:
        return f"**{share:.0f} % of the wrong pixels are {KINDS[most]}.** {n_episodes}."
    worst = displayed.index[0]
    lowest = displayed["IoU"].iloc[0]
    sentence = (
        f"**{share:.0f} % of the wrong pixels are {KINDS[most]}; of the classes in queries, "
        f'"{worst}" has the lowest IoU ({lowest:.0f} %).**'
    )
    rows = classes[(classes["class"] == worst) & (classes["taken for"] != "")]
    if len(rows):
        confused = rows.groupby("taken for", sort=False)["confused"].sum()
        sentence += f' Where it is confused, it is most often taken for "{confused.idxmax()}".'
    return f"{sentence} {n_episodes}."


def compared(
    records: Sequence[EpisodeRecord], others: Sequence[EpisodeRecord], names: tuple[str, str]
) -> pd.DataFrame:
    """IoU in percent of two methods on the same episodes, the largest difference first."""
    other_of = {record.picture.number: record for record in others}
    rows = []
    for record in records:
        number = record.picture.number
        ious = [100 * record.iou, 100 * other_of[number].iou]
        classes = ", ".join(record.picture.class_names)
        rows.append([number, classes, *ious, ious[0] - ious[1]])
    table = pd.DataFrame(rows, columns=["episode", "classes", *names, "difference"])
    largest = table["difference"].abs().sort_values(ascending=False, kind="stable")
    return table.loc[largest.index].set_index("episode").round(1)
