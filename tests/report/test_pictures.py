from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from la.colours import colour, overlay
from la.data.sampling.geometry import Frame
from la.data.sampling.prompts import Drawn
from la.predict.example import example_episode
from la.predict.prediction import Prediction
from la.report.figures import pictures as plotting
from la.report.figures.pictures import EpisodePicture, SupportPicture
from la.report.pages.episode_lists import without_predictions
from la.types import IGNORE, Box, Point


def test_an_overlay_paints_labelled_pixels_and_no_others():
    image = Image.new("RGB", (4, 3), (200, 100, 40))
    labels = np.array([[0, 1, 2, 9], [0, 0, 0, 0], [-100, 1, 1, 1]])
    painted = np.asarray(overlay(image, labels, opacity=1)).astype(float) / 255
    for y, x in np.ndindex(labels.shape):
        row = labels[y, x]
        wanted = np.array([200, 100, 40]) * 0.75 / 255 if row <= 0 else colour(row)
        np.testing.assert_allclose(painted[y, x], wanted, atol=0.003)
    assert colour(9) not in [colour(row) for row in range(1, 9)]


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
    *of_pictures, _ = figure.axes
    titles = [axis.get_title() for axis in of_pictures]
    assert titles == ["support 1", "support 2", "query", "truth", "prediction"]
    assert of_pictures[-1].get_xlabel() == "IoU 100, 0, 100 %"
    numbers = {text.get_text() for text in of_pictures[-2].texts}
    assert numbers == {"1", "2", "3"}  # on the regions of the truth
    without = plotting.explained(example.examples, prediction, None)
    *of_pictures, _ = without.axes
    assert [a.get_title() for a in of_pictures] == [t for t in titles if t != "truth"]
    assert of_pictures[-1].get_xlabel() == ""


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


def test_episodes_carry_the_loader_s_prompts_and_truth(loader, episodes):
    for picture, episode in zip(without_predictions(loader, episodes), episodes, strict=True):
        assert picture.prediction is None and np.array_equal(picture.target, loader.target(episode))
        assert len(picture.supports) == len(episode.support_ids)
        rows = {(s, row) for s, shown in enumerate(picture.supports) for row in shown.prompts}
        assert rows == {(example.support, example.row) for example in episode.examples}
    figure = plotting.episode_strip(without_predictions(loader, episodes[:2]))
    assert [a.get_title() for a in figure.axes[:4]] == ["support 1", "support 2", "query", "truth"]


def test_another_method_is_drawn_beside_the_prediction(loader, episodes):
    shown = without_predictions(loader, episodes[:2])
    right = [replace(e, prediction=e.target) for e in shown]
    wrong = [replace(e, prediction=np.zeros_like(e.target)) for e in shown]
    figure = plotting.episode_strip(right, "LA", {"Affinity": wrong})
    n_columns = len(figure.axes) // 2
    titles = [axis.get_title() for axis in figure.axes[: n_columns - 1]]
    assert titles[-3:] == ["truth", "LA", "Affinity"]
    for row, axes in enumerate(np.reshape(figure.axes, (2, n_columns))):
        assert axes[-3].get_xlabel() == right[row].score
        assert axes[-2].get_xlabel() == wrong[row].score != right[row].score


@pytest.mark.parametrize("sizes", [[(96, 64)], [(64, 96)], [(96, 64), (64, 96), (90, 30)]])
@pytest.mark.parametrize("n_supports", [1, 2, 3])
def test_no_text_of_a_strip_overlaps_another_or_a_picture(sizes, n_supports):
    images = [Image.new("RGB", sizes[n % len(sizes)]) for n in range(4)]
    supports = tuple(SupportPicture(image, {}) for image in images[1:])
    target = np.ones((images[0].height, images[0].width), int)
    names = ("a class with a name of two lines, as some have", "cat")
    shown = EpisodePicture(0, names, supports[:n_supports], images[0], target, target)
    few = replace(shown, number=1, supports=supports[:1])
    figure = plotting.episode_strip([shown, few], "LA", {"A long name of a rival": [shown, few]})
    figure.draw_without_rendering()
    texts, pictures = [], []
    for axis in figure.axes:
        pictures += [image.get_window_extent() for image in axis.images]
        for text in (axis.title, axis.xaxis.label, *axis.texts):
            inside = text in axis.texts and axis.images  # the number of a region
            if text.get_text() and not inside:
                texts.append(text.get_window_extent())
    assert len(texts) == n_supports + 1 + 2 * (4 + 2 + 1)  # titles, IoU, names of two blocks
    for number, box in enumerate(texts):
        for other in texts[:number] + pictures:
            assert not box.overlaps(other)


def test_a_strip_in_words_has_the_iou_of_each_method(loader, episodes):
    (shown,) = without_predictions(loader, episodes[:1])
    right = replace(shown, class_names=("dog", "cat"), prediction=shown.target)
    text = plotting.in_words([right], "LA", {"Affinity": [right]})
    assert text == f"dog, cat: LA {right.score}; Affinity {right.score}."
