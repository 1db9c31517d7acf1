"""Studies: gains are means over classes of paired differences, in chart, table and sentence."""

import pandas as pd
import pytest
from matplotlib.collections import PathCollection

import la
from la.errors import UserError
from la.experiment import chosen_examples
from la.experiment.chosen_examples import most_images, pools
from la.experiment.setup.workbench import Workbench
from la.report.pages import adapting, choosing
from la.report.pages.choosing import extremes, finding
from la.report.pages.gains import chart, gains, printed
from la.report.pages.studies import Study, basis, by_class


def classes(differences: dict[int, list[float]]) -> Study:
    rows = [
        {"method": "LA", "k_shots": k, "fold": 0, "class_id": i, "chosen": 40 + d, "random": 40}
        for k, values in differences.items()
        for i, d in enumerate(values)
    ]
    return Study("chosen", "random", pd.DataFrame(rows), {})


def test_the_gain_is_the_mean_difference_with_its_t_interval_over_classes():
    table = gains(classes({1: [1.0, 3.0], 5: [2.0, 2.0]}))
    first = table.loc[("LA", 1)]
    assert first["gain"] == 2 and first["classes"] == 2 and first["chosen"] == 42
    assert first["half_width"] == pytest.approx(12.706, abs=0.001)  # t of one degree times 1
    assert table.loc[("LA", 5), "half_width"] == 0


def test_the_sentence_names_each_number_of_examples_and_what_is_unresolved():
    sentence = finding(classes({1: [1.0, 3.0], 5: [2.0, 2.0]})).sentence
    assert "+2.0 ± 12.7 points with K = 1 (unresolved)" in sentence
    assert sentence.endswith("+2.0 ± 0.0 points with K = 5.")


def test_a_single_class_has_a_gain_and_no_interval():
    study = classes({1: [3.0]})
    assert finding(study).sentence.endswith("+3.0 points with K = 1 (unresolved).")
    assert printed(study).loc[("LA", 1), "gain ± (points)"] == "+3.0"
    assert len(chart(study).axes) == 1


def test_the_printed_table_has_the_gain_with_its_interval_and_a_verdict():
    table = printed(classes({1: [1.0, 3.0], 5: [2.0, 2.0]}))
    assert table.loc[("LA", 1)].tolist() == ["2", "42.0", "40.0", "+2.0 ± 12.7", "unresolved"]
    assert table.loc[("LA", 5)].tolist() == ["2", "42.0", "40.0", "+2.0 ± 0.0", ""]


def test_dots_are_classes_and_marks_their_mean():
    (axis,) = chart(classes({1: [1.0, 3.0], 5: [-2.0, 0.0]})).axes
    dots = [c.get_offsets() for c in axis.collections if isinstance(c, PathCollection)]
    assert [points[:, 0].tolist() for points in dots] == [[1, 3], [-2, 0]]
    assert [points[:, 1].tolist() for points in dots] == [[0, 0], [1, 1]]
    assert [text.get_text() for text in axis.texts] == ["+2.0", "-1.0"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["K = 1", "K = 5"]


def test_the_classes_that_gain_most_and_least_are_listed_once():
    many = extremes(classes({1: list(range(12)), 5: [50.0] * 12}), "class {}".format)
    assert many.index.tolist() == [f"class {i}" for i in (11, 10, 9, 8, 7, 4, 3, 2, 1, 0)]
    few = extremes(classes({1: [0.0, 2.0]}), "class {}".format)
    assert few["gain (points)"].tolist() == [2, 0] and few.index.name == "class"


def test_the_protocol_counts_classes_once_and_in_the_right_form():
    study = classes({1: [1.0], 5: [2.0]})
    text = basis("Head.", study, n_candidates=6, n_queries=1, n_draws=5)
    assert text.startswith("Head.\n\n1 class of 1 fold, 1-way, masks; ")
    assert "up to 1 other image as queries, and 5 random choices" in text


@pytest.fixture(scope="module")
def bench(few, tmp_path_factory) -> Workbench:
    return Workbench(la.profile("smoke"), few(4, 40), home=tmp_path_factory.mktemp("home"))


def choose(bench: Workbench, candidates: int, queries: int = 2, draws: int = 1) -> Study:
    return by_class(
        chosen_examples.compare,
        choosing.WAYS,
        choosing.METHODS,
        bench,
        [0],
        (1,),
        n_candidates=candidates,
        n_queries=queries,
        n_draws=draws,
    )


def test_numbers_that_leave_nothing_to_compare_are_named(bench):
    with pytest.raises(UserError, match="candidates=1 is too few; at least 2 are needed"):
        choose(bench, 1)
    with pytest.raises(UserError, match="queries=0 is too few; at least 1"):
        choose(bench, 3, queries=0)
    with pytest.raises(UserError, match="draws=0 is too few; at least 1"):
        choose(bench, 3, draws=0)


def test_the_number_of_candidates_that_is_advised_is_possible(bench):
    with pytest.raises(UserError, match="more than 500 test images") as error:
        choose(bench, 500)
    advised = int(str(error.value).rpartition("candidates=")[2])
    assert pools(bench, 0, n_candidates=advised, n_queries=1)
    most = most_images(bench, [0])
    assert pools(bench, 0, n_candidates=most - 1, n_queries=1)
    assert not pools(bench, 0, n_candidates=most, n_queries=1)


def test_the_sentence_on_adapting_is_about_the_decoder():
    assert adapting.finding(classes({5: [2.0, 2.0]})).sentence == (
        "Adapting the decoder to the examples changes LA's IoU by +2.0 ± 0.0 points with K = 5."
    )
