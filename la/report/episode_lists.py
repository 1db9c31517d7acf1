"""What folds and lists of episodes are made of, before any model is run."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from la.data import folds
from la.data.index import CocoIndex
from la.data.loader import BatchLoader
from la.report.lettering import literal
from la.report.pictures import EpisodePicture, picture
from la.types import Episode


def fold_classes(index: CocoIndex, rule: folds.Rule = "interleaved") -> pd.DataFrame:
    """The classes that each fold keeps for the test; a column per fold."""
    names = {}
    for fold in range(folds.N_FOLDS):
        class_ids = folds.unseen(index.category_ids, fold, rule)
        names[f"fold {fold}"] = [index.class_name(c) for c in class_ids]
    return pd.DataFrame.from_dict(names, orient="index").T.fillna("")


def without_predictions(loader: BatchLoader, episodes: Sequence[Episode]) -> list[EpisodePicture]:
    """Episodes with the prompts drawn for them and their truth."""
    return [picture(loader, episode, number) for number, episode in enumerate(episodes)]


def episode_histograms(loader: BatchLoader, episodes: Sequence[Episode]) -> Figure:
    """What a list of episodes is made of: classes, what queries show, prompts and their number."""
    asked = []
    drawn = []
    for episode in episodes:
        asked += [literal(loader.index.class_name(c)) for c in episode.class_ids]
        drawn += loader.draw(episode)
    n_shown = []
    covered = []
    for episode in episodes:
        target = loader.target(episode)
        n_shown.append(len(np.unique(target[target > 0])))
        covered.append(100 * (target > 0).mean())
    prompts = {
        "mask": sum(d.mask is not None for d in drawn),
        "box": sum(len(d.boxes) for d in drawn),
        "point": sum(len(points) for d in drawn for points in d.points),
    }
    classes = pd.Series(asked).value_counts(ascending=True)
    shown = pd.Series(n_shown).value_counts().sort_index()
    figure, ((left, right), (lower_left, lower_right)) = plt.subplots(
        2,
        2,
        figsize=(8, 7),
        height_ratios=(2, 1),
        layout="constrained",
    )
    plt.close(figure)
    left.barh(classes.index, classes)
    left.tick_params(axis="y", labelsize=8)
    left.set_xlabel("episodes that ask for the class")
    right.bar(shown.index.astype(str), shown)
    right.set(xlabel="classes that the query shows", ylabel="episodes")
    lower_left.hist(covered, bins=20)
    lower_left.set(xlabel="% of the query's pixels that they cover", ylabel="episodes")
    lower_right.bar(list(prompts), list(prompts.values()))
    lower_right.set(xlabel="prompts of the supports", ylabel="number")
    return figure
