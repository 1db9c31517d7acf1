from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from la.colours import colour, overlay
from la.config import PROTOCOLS, profile
from la.data.embedded import synthetic
from la.data.episodes import EpisodeSampler, episode_list
from la.data.geometry import Frame
from la.data.index import CocoIndex
from la.data.loader import BatchLoader
from la.data.prompts import Drawn
from la.predict.example import example_episode
from la.predict.prediction import Prediction
from la.report import pictures as plotting
from la.report.pictures import EpisodePicture, SupportPicture
from la.types import IGNORE, Box, Point, PromptKind


@pytest.fixture(autouse=True)
def no_figure_is_held_by_pyplot():
    yield
    assert not plt.get_fignums()  # else a notebook would show it twice


@pytest.fixture(scope="module")
def loader(tmp_path_factory) -> BatchLoader:
    folder = synthetic.write(
        tmp_path_factory.mktemp("data") / "set", n_train=8, n_val=60, progress=False
    )
    index = CocoIndex.from_json(folder / "annotations" / "instances_val.json")
    config = profile("quick")
    return BatchLoader(index, config.model, config.episodes, PROTOCOLS["clean"])


@pytest.fixture(scope="module")
def episodes(loader):
    ids = loader.index.category_ids.tolist()
    sampler = EpisodeSampler(loader.index, ids, PROTOCOLS["clean"], [(2, 1)])
    return episode_list(sampler, n_ways=2, k_shots=1, episodes=6, seed=0, kinds=tuple(PromptKind))


def test_an_overlay_paints_labelled_pixels_and_no_others():
    image = Image.new("RGB", (4, 3), (200, 100, 40))
    labels = np.array([[0, 1, 2, 9], [0, 0, 0, 0], [-100, 1, 1, 1]])
    painted = np.asarray(overlay(image, labels, opacity=1)).astype(float) / 255
    for y, x in np.ndindex(labels.shape):
        row = labels[y, x]
        wanted = np.array([200, 100, 40]) * 0.75 / 255 if row <= 0 else colour(row)
        np.testing.assert_allclose(painted[y, x], wanted, atol=0.003)
    assert colour(9) == colour(1) != colour(2)


def test_the_example_episode_shows_and_prompts_every_class_on_every_image():
    example = example_episode()
    assert set(np.unique(example.target)) == {0, 1, 2, 3} and len(example.class_names) == 3
    kinds = set()
    for image, prompts in example.examples:
        assert image.size == example.query.size == (96, 96)
        assert tuple(prompts) == example.class_names and all(prompts.values())
        kinds |= {(name, type(p)) for name, found in prompts.items() for p in found}
    assert {kind for _, kind in kinds} == {np.ndarray, Box, Point}
    assert np.array_equal(example.target, example_episode().target)
    assert not np.array_equal(example.target, example_episode(seed=1).target)


def test_a_prediction_is_explained_with_its_examples_truth_and_iou():
    example = example_episode()
    labels = example.target.copy()
    labels[example.target == 2] = 0
    frame = Frame((96, 96), 96, "pad")
    prediction = Prediction(labels, example.class_names, example.query, frame, None)
    figure = plotting.explained(example.examples, prediction, example.target)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["support 1", "support 2", "query", "truth", "prediction"]
    assert figure.axes[-1].get_xlabel() == "IoU 100, 0, 100 %"
    without = plotting.explained(example.examples, prediction, None)
    assert [a.get_title() for a in without.axes] == [t for t in titles if t != "truth"]
    assert without.axes[-1].get_xlabel() == ""


def test_iou_is_by_row_and_leaves_out_ignored_pixels_and_what_is_nowhere():
    target = np.array([[2, 2, IGNORE], [0, 0, 0]])
    prediction = np.array([[2, 0, 1], [0, 2, 0]])
    image = Image.new("RGB", (3, 2))
    shown = EpisodePicture(0, ("dog", "cat"), (), image, target, prediction)
    assert np.isnan(shown.iou[0]) and shown.iou[1] == pytest.approx(1 / 3)
    assert shown.score == "IoU –, 33 %"
    assert replace(shown, target=0 * target, prediction=0 * target).score == "no class shown"


def test_positive_and_negative_points_are_drawn_apart():
    drawn = Drawn(
        points=[np.array([[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]])], labels=[np.array([1, -1, 1])]
    )
    figure, axis = plt.subplots()
    plt.close(figure)
    plotting.draw_support(axis, SupportPicture(Image.new("RGB", (8, 8)), {1: drawn}))
    negative, positive = axis.collections
    assert negative.get_offsets().tolist() == [[3, 4]] and len(positive.get_offsets()) == 2
    assert not np.array_equal(negative.get_edgecolors(), positive.get_edgecolors())
    shapes = [c.get_paths()[0].vertices for c in (negative, positive)]
    assert shapes[0].shape != shapes[1].shape


def test_served_episodes_carry_the_loader_s_prompts_and_truth(loader, episodes):
    for picture, episode in zip(plotting.served(loader, episodes), episodes, strict=True):
        assert picture.prediction is None and np.array_equal(picture.target, loader.target(episode))
        assert len(picture.supports) == len(episode.support_ids)
        rows = {(s, row) for s, shown in enumerate(picture.supports) for row in shown.prompts}
        assert rows == {(example.support, example.row) for example in episode.examples}
    figure = plotting.episode_strip(plotting.served(loader, episodes[:2]))
    assert [a.get_title() for a in figure.axes[:4]] == ["support 1", "support 2", "query", "truth"]


def test_histograms_count_classes_and_prompts(loader, episodes):
    figure = plotting.episode_histograms(loader, episodes)
    asked = sum(bar.get_width() for bar in figure.axes[0].patches)
    assert asked == sum(e.n_ways for e in episodes)
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == len(episodes)
    drawn = [d for e in episodes for d in loader.draw(e)]
    wanted = [sum(d.mask is not None for d in drawn), sum(len(d.boxes) for d in drawn)]
    wanted.append(sum(len(points) for d in drawn for points in d.points))
    assert [bar.get_height() for bar in figure.axes[3].patches] == wanted


def test_every_class_is_in_exactly_one_fold(loader):
    table = plotting.fold_classes(loader.index)
    assert list(table.columns) == ["fold 0", "fold 1", "fold 2", "fold 3"] and len(table) == 20
    assert sorted(table.to_numpy().ravel()) == sorted(loader.index.category_names)
    assert table["fold 1"][0] == loader.index.class_name(2)
