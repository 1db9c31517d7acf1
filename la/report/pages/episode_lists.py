"""What folds and lists of episodes are made of, before any model is run, and the lists."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from la.data.coco.index import CocoIndex
from la.data.sampling import folds
from la.data.sampling.loader import BatchLoader
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.files import write_whole
from la.report.figures.lettering import literal
from la.report.figures.marks import marks_of_each_kind
from la.report.figures.pictures import EpisodePicture, picture
from la.report.pages.markdown import markdown
from la.types import Episode
from la.wording import counted

N_SHOWN = 5  # episodes of a list that a page prints


def fold_classes(bench: Workbench) -> pd.DataFrame:
    """The classes that each fold keeps for the test; a column per fold."""
    names = {}
    for fold in bench.distinct(range(folds.N_FOLDS)):
        class_ids = bench.classes(fold, seen=False)
        names[f"fold {fold}"] = [bench.data.test.class_name(c) for c in class_ids]
    return pd.DataFrame.from_dict(names, orient="index").T.fillna("")


def without_predictions(loader: BatchLoader, episodes: Sequence[Episode]) -> list[EpisodePicture]:
    """Episodes with the prompts drawn for them and their truth."""
    return [picture(loader, episode, number) for number, episode in enumerate(episodes)]


def listed(index: CocoIndex, episodes: Sequence[Episode]) -> pd.DataFrame:
    """A row per episode: the id of the query image, and each class with those of its supports."""
    rows = []
    for episode in episodes:
        supports: dict[int, list[str]] = {class_id: [] for class_id in episode.class_ids}
        for example in episode.examples:
            supports[episode.class_of(example)].append(str(episode.image_of(example)))
        texts = [f"{index.class_name(c)}: {', '.join(ids)}" for c, ids in supports.items()]
        rows.append({"query image": episode.query_id, "support images": "; ".join(texts)})
    return pd.DataFrame(rows).rename_axis("episode")


def first_list(bench: Workbench, table: str, measurement: Measurement) -> str:
    """Markdown: where the list of a measurement is, where all others are, and its first episodes.

    The whole list is written to `<table>_episodes.csv` in the results of the profile.
    """
    whole = listed(bench.data.test, bench.episodes(measurement))
    name = f"{table}_episodes.csv"
    write_whole(bench.results / name, whole.to_csv())
    m = measurement
    return (
        f"The first {counted(min(N_SHOWN, len(whole)), 'episode')} of one list: fold "
        f"{m.fold}, seed {m.seed}, {m.setting}. All {len(whole)} are in [{name}]({name}). Images "
        f"are named by their ids. The commands in [{table}_lists.csv]({table}_lists.csv) print "
        f"every other list.\n\n{markdown(whole.head(N_SHOWN))}"
    )


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
    prompts = marks_of_each_kind(drawn)
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
