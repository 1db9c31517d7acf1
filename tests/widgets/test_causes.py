"""What went wrong in episodes, counted by hand."""

from dataclasses import replace

import numpy as np
from test_viewer import record, records

from la.widgets.viewer import causes
from la.widgets.viewer.viewer import EpisodeRecord


def drawn(target: list[list[int]], prediction: list[list[int]], number: int = 0) -> EpisodeRecord:
    picture = replace(
        record(number).picture, target=np.array(target), prediction=np.array(prediction)
    )
    return replace(record(number), picture=picture)


TRUTH = [[0, 0, 0, 0, 0], [1, 1, 1, 1, 0], [2, 2, -100, -100, 0]]
WRONG = [[0, 1, 0, 0, 0], [1, 0, 0, 2, 0], [2, 1, 1, 0, 0]]


def test_mistakes_of_each_class_are_those_counted_by_hand():
    dog, cat = causes.per_class([drawn(TRUTH, WRONG)]).to_dict("records")
    counts = ["right", "painted", "pixels", "missed", "confused", "false alarms", "taken for"]
    assert [dog[name] for name in counts] == [1, 3, 4, 2, 1, 1, "cat"]
    assert [cat[name] for name in counts] == [1, 2, 2, 0, 1, 0, "dog"]


def test_iou_and_shares_divide_summed_pixels():
    table = causes.by("class", causes.per_class([drawn(TRUTH, WRONG), drawn(TRUTH, TRUTH, 1)]))
    dog = table.loc["dog"]  # right 1 + 4, painted 3 + 4, true 4 + 4
    assert dog["n"] == 2 and dog["IoU"] == 50.0
    assert (dog["missed"], dog["confused"]) == (25.0, 12.5)
    assert dog["false alarms"] == round(100 / 7, 1)
    assert list(table.index) == ["dog", "cat"]  # lowest IoU first


def test_the_finding_names_the_most_frequent_mistake_and_the_worst_class():
    text = causes.finding([drawn(TRUTH, WRONG)])
    assert text.startswith("**40 % of the wrong pixels are objects that were missed; ")
    assert '"dog" has the lowest IoU (17 %)' in text and 'most often taken for "cat"' in text
    assert "every pixel is right" in causes.finding([drawn(TRUTH, TRUTH)])


def test_methods_are_compared_on_the_same_episodes_largest_difference_first():
    ours = [record(0, 1), record(1, 12), record(2, 5)]
    theirs = [record(2, 5), record(1, 0), record(0, 3)]
    table = causes.compared(ours, theirs, ("la", "affinity"))
    assert list(table.index) == [1, 0, 2]
    assert table.loc[2, "difference"] == 0 and table.loc[1, "difference"] < 0
    assert table.loc[0, "la"] == round(100 * ours[0].iou, 1)


def test_the_size_of_an_object_is_its_share_of_the_query():
    truth = np.zeros((10, 100), int)
    truth[0, :20] = 1  # 2 %
    truth[1:, :20] = 2  # 18 %
    sizes = causes.per_class([drawn(truth.tolist(), truth.tolist())])["size"]
    assert list(sizes) == ["small", "large"]
    assert set(causes.per_class(records())["size"]) <= {*causes.SIZES, "absent"}
