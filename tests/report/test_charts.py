"""Charts show the numbers that they are given."""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hand_made import result, scored, with_iou
from matplotlib.collections import PathCollection
from PIL import Image

from la.experiment.methods import METHODS, RIVALS, label
from la.report.figures import canvas, charts, error_charts, training_charts
from la.report.scores.analysis import mistakes, protocols
from la.report.scores.comparison import compare
from la.report.scores.tables import scores
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


def test_dots_are_folds_and_written_numbers_are_means():
    (axis,) = charts.by_fold(SCORES).axes
    dots = [c.get_offsets()[:, 0] for c in axis.collections if isinstance(c, PathCollection)]
    assert sorted(np.concatenate(dots)) == sorted(SCORES[SCORES["fold"] != "mean"]["value"])
    written = [text.get_text() for text in axis.texts]
    assert written == [f"{v:.1f}" for v in SCORES[SCORES["fold"] == "mean"]["value"]]
    assert axis.get_yticklabels()[0].get_text() == "LA" and axis.yaxis_inverted()  # on top


def test_a_reference_does_not_stretch_the_axis_and_is_written_at_its_edge():
    reference = scores([with_iou(90, method="token_grid")])
    (alone,) = charts.by_fold(SCORES).axes
    (axis,) = charts.by_fold(pd.concat([SCORES, reference])).axes
    assert axis.get_xlim() == alone.get_xlim()
    assert axis.texts[-1].get_text() == "90.0 →" and axis.texts[-1].xy[0] == axis.get_xlim()[1]


def test_marks_by_prompts_are_at_the_means():
    kinds = ((PromptKind.MASK,), (PromptKind.BOX,))
    tidy = scores([with_iou(30 + 10 * i, kinds=k) for i, k in enumerate(kinds)])
    (axis,) = charts.by_prompts(tidy).axes
    assert axis.lines[0].get_xdata().tolist() == [30, 40]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["masks", "boxes"]


def test_lines_go_through_their_points_in_order():
    frame = pd.DataFrame(
        {"method": "LA", "N": [5, 1, 2], "value": [1.0, 3.0, 2.0], "half_width": np.nan}
    )
    (axis,) = charts.lines(frame, "N", {"value": "mIoU* (%)"}).axes
    x, y = axis.lines[0].get_data()
    assert list(x) == [1, 2, 5] and list(y) == [3, 2, 1]


def test_a_reference_above_all_lines_is_written_and_not_drawn():
    rows = [("LA", n, 40.0 - n) for n in (1, 5)] + [
        ("Token grid reference", n, 70.0) for n in (1, 5)
    ]
    frame = pd.DataFrame(rows, columns=["method", "N", "value"]).assign(half_width=1.0)
    (axis,) = charts.lines(frame, "N", {"value": "mIoU* (%)"}).axes
    assert [text.get_text() for text in axis.texts] == ["Token grid reference: 70 to 70 ↑"]
    assert axis.get_legend_handles_labels()[1] == ["LA"] and axis.get_ylim()[1] < 50


def test_many_methods_are_drawn_in_two_panels_with_la_in_both():
    names = ["la", *METHODS, *RIVALS]
    rows = [(label(name), n, 30.0) for name in dict.fromkeys(names) for n in (1, 5)]
    frame = pd.DataFrame(rows, columns=["method", "N", "value"]).assign(half_width=1.0)
    figure = charts.lines(frame, "N", {"value": "mIoU* (%)"})
    usual, trained = (set(axis.get_legend_handles_labels()[1]) for axis in figure.axes)
    assert usual & trained == {"LA"} and "PANet" in trained and "INSID3" in usual
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == usual | trained
    figure.draw_without_rendering()
    below = legend.get_window_extent().y1
    assert all(axis.get_tightbbox().y0 >= below for axis in figure.axes)


def test_every_method_of_the_tables_looks_different():
    looks = canvas.styles(method.label for method in (METHODS | RIVALS).values())
    assert len(set(looks.values())) == len(METHODS | RIVALS)


def test_of_many_bars_of_mistakes_the_first_and_last_setting_are_drawn():
    settings = [f"{n}-way 1-shot" for n in (1, 2, 3, 4)]
    columns = pd.MultiIndex.from_product([["foreground"], error_charts.KINDS])
    for n_methods, drawn in ((5, settings), (20, [settings[0], settings[-1]])):
        index = pd.MultiIndex.from_product([settings, [f"method {i}" for i in range(n_methods)]])
        figure = error_charts.kinds(pd.DataFrame(30.0, index, columns))
        assert [axis.get_title() for axis in figure.axes] == drawn


def test_a_confusion_is_drawn_with_the_true_class_in_rows():
    names = ["background", "cat"]
    figure = error_charts.confusion(pd.DataFrame([[90.0, 10.0], [40.0, 60.0]], names, names))
    mesh = figure.axes[0].collections[0].get_array().reshape(2, 2)
    assert mesh[0, 1] == 10 and mesh[1, 0] == 40


def test_curves_show_every_step_and_a_median():
    run = pd.DataFrame({"step": range(50), "loss": 1.0, "norm": 2.0, "lr": 0.1})
    loss, norm, rate = training_charts.curves({"LA": run}).axes
    assert len(loss.lines) == len(norm.lines) == 2 and len(rate.lines) == 1
    assert loss.lines[1].get_ydata().tolist() == [1.0] * 50


def test_a_shown_figure_is_a_png_with_words_and_is_closed():
    shown = charts.show(charts.by_fold(SCORES), "dots of three methods")
    data, metadata = shown._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "dots of three methods"
    image = Image.open(io.BytesIO(shown.data))
    assert image.mode == "P" and image.width == pytest.approx(200 * canvas.WIDTH, abs=2)
    assert not plt.get_fignums()


def test_a_method_looks_the_same_in_every_chart_and_differs_from_others_in_grey_too():
    pair = canvas.styles(["Affinity", "LA"])
    three = canvas.styles(["Ridge classifier", "LA", "Affinity"])
    assert pair["LA"] == three["LA"] and pair["Affinity"] == three["Affinity"]
    assert len({style.marker for style in three.values()}) == 3
    assert len({style.colour for style in three.values()}) == 3
    runs = canvas.styles(["usual start", "agreeing start"])
    assert len({style.marker for style in runs.values()}) == 2


def test_curves_show_the_scores_of_saved_states_too():
    run = pd.DataFrame({"step": range(50), "loss": 1.0, "norm": 2.0, "lr": 0.1})
    run["validation"] = np.where(run["step"] % 10 == 9, 0.01 * run["step"], np.nan)
    *_, score = training_charts.curves({"LA": run}).axes
    (line,) = score.lines
    assert line.get_xdata().tolist() == [10, 20, 30, 40, 50]
    np.testing.assert_allclose(line.get_ydata(), [9, 19, 29, 39, 49])


def test_the_axis_of_scores_holds_every_run():
    low = pd.DataFrame({"step": range(20), "loss": 1.0, "norm": 2.0, "lr": 0.1})
    low["validation"] = np.where(low["step"] % 10 == 9, 0.2, np.nan)
    high = low.assign(validation=2 * low["validation"])
    *_, score = training_charts.curves({"low": low, "high": high}).axes
    top = max(line.get_ydata().max() for line in score.lines)
    assert top == pytest.approx(40) and score.get_ylim()[1] > top


def test_an_axis_ends_beyond_the_error_bars():
    wide = SCORES.assign(half_width=30.0)
    (axis,) = charts.by_fold(wide).axes
    assert axis.get_xlim()[1] > wide["value"].max() + 30


def test_a_panel_shows_the_kinds_of_its_setting_and_all_marks():
    results = [with_iou(30), with_iou(40, kinds=(PromptKind.BOX,)), with_iou(20, shots=5)]
    one_shot, five_shots = charts.by_prompts(scores(results)).axes
    texts = [label.get_text() for label in five_shots.get_yticklabels()]
    assert texts == ["masks"] and len(one_shot.get_yticklabels()) == 2
    for axis in (one_shot, five_shots):
        bottom, top = axis.get_ylim()
        assert all(top < y < bottom for line in axis.lines for y in line.get_ydata())


def test_long_names_of_a_confusion_end_as_the_names_do():
    names = ["background", "greek small letter phi, azure checker"]
    figure = error_charts.confusion(pd.DataFrame([[90.0, 10.0], [40.0, 60.0]], names, names))
    assert figure.axes[0].get_yticklabels()[1].get_text() == "... phi, azure checker  1"


def test_a_shown_photograph_has_words_too():
    shown = charts.show_image(Image.new("RGB", (40, 30), "red"), "a red field")
    data, metadata = shown._repr_mimebundle_()
    assert "image/png" in data and metadata["image/png"]["alt"] == "a red field"


def test_runs_are_summed_up_by_where_they_end():
    run = pd.DataFrame({"step": range(20), "loss": 0.25, "norm": 2.0, "lr": 0.1})
    scored_run = run.assign(validation=[np.nan] * 19 + [0.305])
    assert training_charts.curves_in_words({"a": run, "b": scored_run}) == (
        "a: the loss ends at 0.25; b: the loss ends at 0.25, mIoU* on seen classes at 30.5 %."
    )
    shapes = run.assign(loss=[1.0, 3.0] * 10, shape=["1-way", "4-way"] * 10)
    assert training_charts.shapes_in_words(shapes) == (
        "The loss ends lowest for batches of 1-way (1.00) and highest for 4-way (3.00)."
    )


def test_the_loss_is_shown_apart_for_each_shape_of_batches():
    run = pd.DataFrame({"step": range(40), "loss": [1.0, 3.0] * 20, "shape": ["a", "b"] * 20})
    (axis,) = training_charts.loss_by_shape(run).axes
    assert {line.get_label(): set(line.get_ydata()) for line in axis.lines} == {"a": {1}, "b": {3}}


def test_the_score_is_drawn_below_the_loss_of_each_shape():
    run = pd.DataFrame({"step": range(40), "loss": 1.0, "shape": "a"})
    run["validation"] = np.where(run["step"] % 20 == 19, 0.3, np.nan)
    loss, score = training_charts.loss_by_shape(run).axes
    assert len(loss.lines) == 1
    assert score.lines[0].get_xdata().tolist() == [20, 40]
    np.testing.assert_allclose(score.lines[0].get_ydata(), [30, 30])


def test_bars_of_mistakes_add_up_to_all_object_pixels():
    results = [with_iou(30, method=name) for name in ("la", "affinity")]
    (axis,) = error_charts.kinds(mistakes(results)).axes
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axis.containers}
    assert widths == {"right": [30, 30], "another class": [0, 0], "missed": [70, 70]}
    hatches = {bars[0].get_hatch() for bars in axis.containers}
    assert len(hatches) == 3  # told apart in grey


def test_mistakes_in_words_are_those_of_the_first_method():
    confusion = ((100, 0, 0), (30, 60, 10), (20, 0, 80))
    ours = result(confusion=confusion, ids=((3, 7),))
    assert error_charts.kinds_in_words(mistakes([ours, scored("affinity", 2, 10)])) == (
        "In 2-way 1-shot LA has 70 % of the object pixels right, misses 25 % and gives 5 % to "
        "another class."
    )


def test_of_many_settings_the_first_and_the_last_are_told():
    results = [scored("la", n, 50) for n in (1, 2, 3)]
    text = error_charts.kinds_in_words(mistakes(results))
    assert "In 1-way" in text and "In 3-way" in text and "In 2-way" not in text


def test_the_most_confused_class_is_named():
    names = ["background", "cat", "dog"]
    percent = pd.DataFrame([[90, 9, 1], [60, 40, np.nan], [20, 30, 50]], names, names)
    assert error_charts.confusion_in_words(percent) == (
        "dog is most often confused: 30 % of its pixels are painted as cat."
    )


def test_each_rule_has_a_mark_at_its_score():
    rules = protocols([with_iou(30), with_iou(40, protocol="paper")])
    (axis,) = error_charts.by_rule(rules).axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["LA, clean", "LA, paper"]
    marks = {line.get_label(): list(line.get_xdata()) for line in axis.lines}
    assert marks["mIoU* (the paper's)"] == [30, 40] and list(marks) == list(rules.columns)


def test_leads_are_marked_at_their_points_and_empty_where_unresolved():
    results = [with_iou(50), with_iou(40, method="affinity")]
    results += [with_iou(30, shots=5), with_iou(30, shots=5, method="affinity")]
    (axis,) = charts.leads(compare(results)).axes
    marks = [line for line in axis.lines if line.get_marker() == "o"]
    places = [(float(line.get_xdata()[0]), int(line.get_ydata()[0])) for line in marks]
    assert places == [(pytest.approx(10), 0), (pytest.approx(0), 1)]
    assert [line.get_markerfacecolor() for line in marks] == ["black", "white"]
    assert axis.get_xlabel().startswith("LA minus Affinity\n")


def test_leads_over_different_methods_name_the_one_of_each_row():
    results = [with_iou(50), with_iou(40, method="affinity")]
    results += [with_iou(30, shots=5), with_iou(30, shots=5, method="ridge")]
    (axis,) = charts.leads(compare(results)).axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["1-way 1-shot, masks\nAffinity", "1-way 5-shot, masks\nRidge classifier"]
    assert axis.get_xlabel().startswith("LA minus the\ncomparator of the row\n")


def test_names_of_leads_do_not_touch_and_the_label_below_is_whole():
    results = []
    for shots, other in enumerate(["threshold_prototype", *10 * ["insid3"]], 1):
        kinds = (PromptKind.BOX, PromptKind.POINT)
        results.append(with_iou(50, shots=shots, kinds=kinds))
        results.append(with_iou(40, shots=shots, kinds=kinds, method=other))
    figure = charts.leads(compare(results))
    figure.draw_without_rendering()
    (axis,) = figure.axes
    boxes = [text.get_window_extent() for text in axis.get_yticklabels()]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))
    label = axis.xaxis.label.get_window_extent()
    assert figure.bbox.x0 <= label.x0 and label.x1 <= figure.bbox.x1
